"""How do we see it? Logs, and what service managers are told."""
