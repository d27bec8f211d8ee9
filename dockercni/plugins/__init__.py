"""The built-in CNI plugins, behind the same contract as an executable, and what is done around executables.

- What is a plugin, and who serves it? `contract`, `table` (which there are), `keys` (which configurations they
  support), `dispatch` (built-in or executable), `ipam` (the same for the plugin that `ipam.type` names).
- One verb: `skeleton` (checks and errors as in Go's pkg/skel), `executable` and `__main__` (started as a process).
- bridge: `bridge`, `bridge_conf`, `bridge_ports` (the host's side), `container_side` (addresses and routes; macvlan and
  others are repaired by it too), `bridge_check`, `spoof_check`.
- host-local: `host_local`, `ranges` (pure), `leases` (the store). static: `static`. Both: `addresses`.
- portmap: `portmap`. firewall: `firewall`, `forward` (its rules when it serves another runtime).
- tuning: `tuning`, `tuning_conf`, `sysctls`, `backups`. loopback: `loopback`.
- Our nftables table: `layout` (what it is made of), `ruleset` (elements in and out), `repair` (after a flush).
- Executables: `assisted` (what the reference plugins do not do), `dhcp` (the daemon of that plugin).
"""
