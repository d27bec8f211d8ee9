"""What lets traffic of CNI bridges pass Docker's FORWARD chain, whose policy is DROP.

For each bridge, on top of DOCKER-USER: what comes from the bridge, the answers to it, and connections to published
ports (ctstate DNAT). Nothing more: accepting all that goes to the bridge would open ports that nobody published.
"""

from __future__ import annotations

import re
import threading
from collections import defaultdict
from typing import Final

import structlog

from dockercni.kernel import forward, iptables, links
from dockercni.kernel.forward import DOCKER as CHAIN
from dockercni.kernel.forward import accepts
from dockercni.reconcile.locks import Locks

_MARK: Final = re.compile(r'--comment "dockercni:([^"]+)"')

log = structlog.get_logger()


class Forwarding:
    """Keeps the rules of the bridges in use. Thread-safe, and safe beside other processes that do the same."""

    def __init__(self, locks: Locks) -> None:
        self._locks = locks
        self._opened: dict[str, bytes] = {}
        self._guards: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)

    def open(self, bridge: str) -> None:
        """See to it that the rules of `bridge` are there. Call it when the container's port is on the bridge already.

        Costs nothing if we did it before and nobody took the bridge's lock since. Raises iptables.IptablesError.
        """
        with self._guards[bridge]:  # whoever waits for the first one to look need not look as well
            if self._opened.get(bridge) != self._locks.last_on_bridge(bridge):
                self._open(bridge)

    def _open(self, bridge: str) -> None:
        with self._locks.bridge(bridge), forward.changing():
            for chain in iptables.filter_chains(CHAIN):
                present = chain.rules()
                chain.enter_from("FORWARD")  # Docker's own jump; after a flush only a restart of Docker would bring it
                missing = [rule for rule in accepts(bridge) if rule not in present]
                surplus = [rule for rule in accepts(bridge) for _ in range(1, present.count(rule))]
                if missing or surplus:
                    chain.change(insert=missing, delete=surplus)
                    log.info("forwarding opened", bridge=bridge, chain=chain.name, command=chain.command)
            self._opened[bridge] = self._locks.last_on_bridge(bridge)

    def close(self, bridge: str) -> None:
        """Take the rules of `bridge` away if no container is on it any more. Raises iptables.IptablesError."""
        if links.has_ports(bridge):
            return
        with self._locks.bridge(bridge), forward.changing():
            if links.has_ports(bridge):  # an ADD was faster
                return
            for chain in iptables.filter_chains(CHAIN):
                present = chain.rules()
                if ours := [rule for rule in present if rule in accepts(bridge)]:
                    chain.change(delete=ours)
                    log.info("forwarding closed", bridge=bridge, chain=chain.name, command=chain.command)

    def tidy(self) -> None:
        """Close what is open for bridges without a container: that of an ADD which failed, or was never finished.

        Raises iptables.IptablesError.
        """
        rules = [rule for chain in iptables.filter_chains(CHAIN) for rule in chain.rules()]
        for bridge in sorted({match[1] for rule in rules if (match := _MARK.search(rule))}):
            self.close(bridge)

    def reopen(self) -> None:
        """Look again at the bridges that we opened: somebody deleted rules. Raises iptables.IptablesError."""
        bridges = list(self._opened)
        self.recheck()
        for bridge in bridges:
            if links.has_ports(bridge):
                self.open(bridge)

    def recheck(self) -> None:
        """Look again at every bridge before relying on its rules: somebody may have flushed them."""
        self._opened.clear()
