"""The built-in plugins in throw-away private hosts, without an engine."""
