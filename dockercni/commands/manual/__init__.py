"""What is made from the table of commands: completion scripts, man pages, the README's reference."""
