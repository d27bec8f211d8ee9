"""What is made from the table of commands: completion scripts, man pages, the reference in docs/."""
