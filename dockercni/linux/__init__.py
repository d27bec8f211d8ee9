"""How does Linux do it? Thin, and the only importer of ctypes and pyroute2. Decides nothing about containers.

- Network namespaces: `netns` (open, identify, enter, pin), `netns_state` (what one contains).
- Netlink: `netlink` (requests and answers), `links`, `addr` (addresses and routes), `announce` (ARP and neighbour
  advertisements), `conntrack`, `events` (what the kernel reports by itself: links, addresses, routes, rules that went).
- This host: `host_links` (its links and subnets), `listeners` (who has a port), `routing` (forwarding), `sysctl`.
- Firewall: `nft` (rulesets as text), `nft_elements` (sets, maps), `iptables` (the executables), `forward` (what our
  chain in FORWARD contains, and where it stands; pure but for its lock), `firewalld` (does it run?).
- Processes: `processes`, `cgroups`, `runc_stages` (a container's process while the runtime makes it), `capabilities`
  (what a process may do), `hold` (stops an entrypoint at its execve), `urgency`, `threads`.
- Files: `inotify`, `descriptors`.
"""
