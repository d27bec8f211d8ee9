"""Runs the verbs of a network by built-in plugins inside a private host, as a program of its own.

    python -m tests.netns.worker ENGINE VERB CONFIG CONTAINER IFNAME NETNS CAPABILITIES [STEPS]

With STEPS it kills itself before that many steps are over: a step is whatever changes something outside the process.
Prints the result as JSON, or the error on stderr; a last line on stderr says how many steps there were.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dockercni.cni import Cache, CNIError, ExecRunner, Runtime, RuntimeConf, parse_list
from dockercni.linux import iptables, netlink, nft, nft_elements, sysctl
from dockercni.plugins.dispatch import Dispatch
from dockercni.reconcile.firewall_rules import FirewallRules
from tests.differential.score import seam

CACHE = Path("/var/lib/cni")
CHANGES = {16, 17, 19, 20, 21, 24}  # rtnetlink: links, addresses, routes made, changed, removed


class Steps:
    """Counts, and kills this process before the step `last`."""

    def __init__(self, last: int | None) -> None:
        self.last = last
        self.count = 0

    def step(self) -> None:
        """One more step begins."""
        if self.count == self.last:
            os.kill(os.getpid(), signal.SIGKILL)
        self.count += 1

    def before(self, owner: Any, name: str, which: Callable[..., bool] = lambda *_, **__: True) -> None:
        """Make each call of `owner.name` for which `which` holds a step."""
        original = getattr(owner, name)

        def counted(*arguments: Any, **named: Any) -> Any:
            if which(*arguments, **named):
                self.step()
            return original(*arguments, **named)

        setattr(owner, name, counted)


def watch(steps: Steps) -> None:
    """Count what changes links, addresses, routes, settings, rulesets, elements, leases and cache entries."""
    steps.before(netlink.Netlink, "_send", lambda _, messages: any(each.kind in CHANGES for each in messages))
    steps.before(nft_elements.Table, "change")
    steps.before(nft, "apply")
    steps.before(iptables, "_run")
    steps.before(sysctl, "write")
    steps.before(sysctl.LinkSysctls, "write")
    for name in ("link", "rename", "replace", "unlink"):
        steps.before(os, name)


def main() -> int:
    """See the module."""
    seam.install()
    engine, verb, config, container, ifname, netns, capabilities, *last = sys.argv[1:]
    steps = Steps(int(last[0]) if last else None)
    watch(steps)
    runner = Dispatch(ExecRunner([Path("/usr/lib/cni")]), engine)  # type: ignore[arg-type]
    runtime = Runtime(runner, Cache(CACHE))
    network = parse_list(config.encode())
    attachment = RuntimeConf(container, netns, ifname, capability_args=json.loads(capabilities), owner={})
    try:
        match verb:
            case "ADD":
                sys.stdout.write(json.dumps(dict(runtime.add(network, attachment).result or {})))
            case "CHECK":
                entry = Cache(CACHE).read(network.name, container, ifname)
                assert entry
                runtime.check(entry)
            case "DEL":  # with what ADD recorded, as after a kill
                if entry := Cache(CACHE).read(network.name, container, ifname):
                    runtime.delete_recorded(entry)
                else:
                    runtime.delete(network, attachment)
            case "GC":
                runtime.gc(network, [(container, ifname)] if container else [])
            case "REPAIR":
                rules = FirewallRules(runtime)
                for entry in Cache(CACHE).entries():
                    for kinds in rules.missing([entry]).values():
                        rules.repair(entry, kinds, 0)
            case _:
                raise AssertionError(verb)
    except CNIError as error:
        sys.stderr.write(json.dumps(error.to_dict()))
        return 1
    sys.stderr.write(f"steps {steps.count}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
