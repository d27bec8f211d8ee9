"""The iptables executables, in the flavour (nft or legacy) in which a given chain already exists.

A native nft rule in a table of iptables-nft makes `iptables-save` fail: foreign tables are touched through these only.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
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
        lines = _run([self.command, "-w", "-S", self.name]).split("\n")
        return [line.removeprefix(prefix) for line in lines if line.startswith(prefix)]

    def enter_from(self, chain: str) -> None:
        """See to it that the built-in `chain` jumps here; a missing jump goes on top. Raises IptablesError."""
        caller = FilterChain(self.command, chain)
        if f"-j {self.name}" not in caller.rules():
            caller.change(insert=[f"-j {self.name}"])

    def change(self, *, insert: Sequence[str] = (), append: Sequence[str] = (), delete: Sequence[str] = ()) -> None:
        """Delete, insert (on top, the first one topmost), append rules in one transaction. Raises IptablesError."""
        lines = [f"-D {self.name} {rule}" for rule in delete]
        lines += [f"-I {self.name} {position} {rule}" for position, rule in enumerate(insert, 1)]
        lines += [f"-A {self.name} {rule}" for rule in append]
        restore(self.command, "filter", lines)

    def new_target(self, name: str, comment: str) -> FilterChain:
        """Make the chain `name`, which this one jumps to before anything else. Raises IptablesError."""
        restore(self.command, "filter", [f"-N {name}", f'-I {self.name} 1 -m comment --comment "{comment}" -j {name}'])
        return FilterChain(self.command, name)

    def policy(self) -> str:
        """What becomes of packets that no rule decides on ("" for a chain without a policy). Raises IptablesError."""
        prefix = f"-P {self.name} "
        lines = _run([self.command, "-w", "-S", self.name]).split("\n")
        return next((line.removeprefix(prefix).strip() for line in lines if line.startswith(prefix)), "")


def saved(command: str) -> dict[str, dict[str, list[str]]]:
    """Every chain of every table that `command` ("iptables", "ip6tables") has: {table: {chain: [rule]}}.

    A rule is what `iptables -S` prints without "-A CHAIN ". Raises IptablesError.
    """
    tables: dict[str, dict[str, list[str]]] = {}
    chains: dict[str, list[str]] = {}
    for line in _run([f"{command}-save"]).split("\n"):
        if line.startswith("*"):
            chains = tables[line[1:]] = {}
        elif line.startswith(":"):
            chains[line[1:].split(" ", 1)[0]] = []
        elif line.startswith("-A "):
            _, chain, rule = line.split(" ", 2)
            chains[chain].append(rule)
    return tables


def restore(command: str, table: str, lines: Sequence[str]) -> None:
    """Apply lines as iptables-restore reads them (":CHAIN - [0:0]", "-A ...", "-D ...", "-X ...") in one transaction.

    Whatever they do not name stays. Raises IptablesError.
    """
    _run([f"{command}-restore", "-w", "--noflush"], "\n".join([f"*{table}", *lines, "COMMIT", ""]))


def filter_chains(name: str) -> list[FilterChain]:
    """The filter chain `name` wherever it exists: at most one flavour for each of IPv4 and IPv6."""
    found = []
    for family in FAMILIES:
        for command in (family, f"{family}-nft", f"{family}-legacy"):
            if shutil.which(command) and _succeeds([command, "-w", "-S", name]):
                found.append(FilterChain(command, name))
                break
    return found


def flavour(command: str) -> str:
    """What `command` is: "nft" or "legacy". Raises IptablesError."""
    return "nft" if "nf_tables" in _run([command, "--version"]) else "legacy"


def legacy_tables() -> list[str]:
    """The tables of the legacy flavour that exist in this network namespace; asking with it would make them."""
    found = []
    for names in (Path("/proc/net/ip_tables_names"), Path("/proc/net/ip6_tables_names")):
        try:
            found += names.read_text(encoding="ascii").split()
        except OSError:  # the module is not loaded
            continue
    return sorted(set(found))


def policy(command: str, chain: str) -> str:
    """The policy of a built-in chain of the filter table. Raises IptablesError."""
    return _run([command, "-w", "-S", chain]).split("\n", 1)[0].rpartition(" ")[2]


def _succeeds(argv: list[str]) -> bool:
    try:
        _run(argv)
    except IptablesError:
        return False
    return True


def _run(argv: list[str], text: str = "") -> str:
    try:
        done = subprocess.run(
            argv,
            input=text,
            capture_output=True,
            encoding="utf-8",
            errors="surrogateescape",  # comments are anybody's bytes, and have to be given back as they were
            timeout=SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise IptablesError(f"{' '.join(argv)}: {error}") from error
    if done.returncode != 0:
        raise IptablesError(f"{' '.join(argv)} ended with {done.returncode}: {done.stderr.strip()}")
    return done.stdout
