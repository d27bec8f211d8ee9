"""Who finds and holds starting containers? The gate, a process that outlives the daemon.

The daemon decides what it releases. `process` is the gate, `client` the daemon's side of it, `messages` what they say
to each other, also across versions.
"""
