"""Who has that name? A process of its own that answers containers' DNS questions, and outlives the daemon.

Names follow Docker's own resolver where users see it: the first of the asker's networks that knows a name answers,
NAME.NETWORK chooses a network, a name that exists is never forwarded whatever type is asked for, and an unknown one
always is. Two things differ: a Compose service is known to its own project only, and an answer lives for 5 s, not 600.

`process` is the resolver, `client` the daemon's side, `messages` what they exchange. `table` and `wire` are pure: who
is called what, and the format of DNS. `listeners` are the sockets by which containers ask; `forward`, `exchange` and
`upstream` ask other servers. `loop` runs all of it in one thread.
"""
