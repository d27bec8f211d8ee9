"""How does Linux hold a process at its execve? A helper process traces it; see docker.start_watch for the states."""
