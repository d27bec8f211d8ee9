"""Holds a starting container's process at its execve, through a helper process that traces it."""
