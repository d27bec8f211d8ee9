"""The iptables executables, in the flavour (nft or legacy) in which a given chain already exists.

A native nft rule in a table of iptables-nft makes `iptables-save` fail: foreign tables are touched through these only.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

SECONDS: Final = 10
FAMILIES: Final = ("iptables", "ip6tables")


class IptablesError(Exception):
    """An iptables executable failed; the message has its command line and its words."""


@dataclass(frozen=True, slots=True)
class FilterChain:
    """A chain of the filter table of one family, reached through `command` ("iptables", "ip6tables-legacy", ...)."""

    command: str
    name: str

    def rules(self) -> list[str]:
        """Its rules in order, each as `iptables -S` prints it without "-A CHAIN ". Raises IptablesError."""
        prefix = f"-A {self.name} "
        lines = _run([self.command, "-w", "-S", self.name]).splitlines()
        return [line.removeprefix(prefix) for line in lines if line.startswith(prefix)]

    def change(self, *, insert: Sequence[str] = (), append: Sequence[str] = (), delete: Sequence[str] = ()) -> None:
        """Delete, insert (on top, the first one topmost), append rules in one transaction. Raises IptablesError."""
        lines = [f"-D {self.name} {rule}" for rule in delete]
        lines += [f"-I {self.name} {position} {rule}" for position, rule in enumerate(insert, 1)]
        lines += [f"-A {self.name} {rule}" for rule in append]
        self._restore(lines)

    def new_target(self, name: str, comment: str) -> FilterChain:
        """Make the chain `name`, which this one jumps to before anything else. Raises IptablesError."""
        self._restore([f"-N {name}", f'-I {self.name} 1 -m comment --comment "{comment}" -j {name}'])
        return FilterChain(self.command, name)

    def policy(self) -> str:
        """What becomes of packets that no rule decides on ("" for a chain without a policy). Raises IptablesError."""
        prefix = f"-P {self.name} "
        lines = _run([self.command, "-w", "-S", self.name]).splitlines()
        return next((line.removeprefix(prefix).strip() for line in lines if line.startswith(prefix)), "")

    def _restore(self, lines: Sequence[str]) -> None:
        _run([f"{self.command}-restore", "-w", "--noflush"], "\n".join(["*filter", *lines, "COMMIT", ""]))


def filter_chains(name: str) -> list[FilterChain]:
    """The filter chain `name` wherever it exists: at most one flavour for each of IPv4 and IPv6."""
    found = []
    for family in FAMILIES:
        for command in (family, f"{family}-nft", f"{family}-legacy"):
            if shutil.which(command) and _succeeds([command, "-w", "-S", name]):
                found.append(FilterChain(command, name))
                break
    return found


def _succeeds(argv: list[str]) -> bool:
    try:
        _run(argv)
    except IptablesError:
        return False
    return True


def _run(argv: list[str], text: str = "") -> str:
    try:
        done = subprocess.run(argv, input=text, capture_output=True, text=True, timeout=SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise IptablesError(f"{' '.join(argv)}: {error}") from error
    if done.returncode != 0:
        raise IptablesError(f"{' '.join(argv)} ended with {done.returncode}: {done.stderr.strip()}")
    return done.stdout
