"""The gate: a process that finds and holds starting containers, and outlives the daemon, which says whom to let go."""
