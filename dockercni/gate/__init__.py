"""Who finds and holds what starts? The gate: a process that outlives the daemon, which decides what it releases."""
