"""How Linux does it: namespaces, links, iptables. Thin, and the only importers of pyroute2 and ctypes."""
