"""The native plugins in throw-away private hosts, without an engine."""
