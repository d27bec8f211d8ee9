"""The commands, one small module per verb."""
