"""What should be done? Observe one container, compare what it should have with what it has, act on the difference.

Its modules, by the question that each answers:

- How is one container reconciled? `reconciler` (the one way in: lock, observe, plan, carry out), `observation` (what is
  there), `plan` (pure: wanted, recorded and observed give actions), `execution` (carries them out), `outcome` (what
  came of it), `failure` (is an error worth another try?).
- What is wanted? `labels` (pure), `networks` (which there are), `ports` (which network publishes them, which ports of
  the host are free), `gateway` (pure) and `default_route` (which network has it), `preferred` (the last address and
  MAC), `limits` (how long a start may be held).
- What is recorded? `records` (cache entries that dockercni made), `history` (what a container had last), `state` and
  `images` (small files of the state directory).
- Who may act? `locks`, `port_claims`, `sandbox` (a container's namespace: found, held, confirmed, pinned), `conflicts`
  (who has an address or port already).
- Who acts? `attach` and `detach` (ADD, CHECK, repair, DEL of one attachment), `ad_hoc` (`dockercni add` and `del`),
  `container_half` and `host_half` with `host_needs` (pure), `dhcp_leases`, `host_local_leases`.
- Which firewall rules belong to it? `forwarding` with `uses` (pure) for FORWARD; `firewall_rules`, `reference_rules`
  and `reference_rules_nft` (pure) for those of plugins.
- What has no owner? `orphans`, `orphaned_elements`, and `shared_state` for `uninstall`.
- What does a new network look like? `drafts` and `claims` (pure), `occupied` (what it must not collide with).
"""
