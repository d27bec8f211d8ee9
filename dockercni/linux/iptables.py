"""The iptables executables, in the flavour (nft or legacy) in which a given chain already exists.

A native nft rule in a table of iptables-nft makes `iptables-save` fail, so these tables are changed only by iptables.
"""

from __future__ import annotations

import errno
import shutil
import socket
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Final

from dockercni.linux.netlink import NFGENMSG_SIZE, Message, NetlinkError, attributes, netfilter, nfgenmsg, text

SECONDS: Final = 10
FAMILIES: Final = {4: "iptables", 6: "ip6tables"}
_NFT_FAMILY: Final = {4: socket.AF_INET, 6: socket.AF_INET6}
_GET_CHAIN, _GET_RULE = (10 << 8 | number for number in (4, 7))  # linux/netfilter/nf_tables.h
_CHAIN_TABLE, _CHAIN_NAME, _CHAIN_POLICY = 1, 3, 5
_RULE_TABLE, _RULE_CHAIN = 1, 2
_ACCEPT: Final = 1
_LEGACY: Final = {4: Path("/proc/net/ip_tables_names"), 6: Path("/proc/net/ip6_tables_names")}


class IptablesError(Exception):
    """An iptables executable failed; the message has its command line and its error output."""


@dataclass(frozen=True, slots=True)
class Filter:
    """The filter table of one IP version in one flavour, reached through `command` ("iptables", "iptables-legacy")."""

    version: int
    command: str

    def chains(self) -> dict[str, list[str]]:
        """Each chain with its rules, as `iptables -S` prints them without "-A CHAIN ". Raises IptablesError."""
        return self.listing()[1]

    def listing(self) -> tuple[dict[str, str], dict[str, list[str]]]:
        """The policies of the built-in chains, and each chain with its rules. Raises IptablesError."""
        policies: dict[str, str] = {}
        chains: dict[str, list[str]] = {}
        # Comments come in quotes here, and a rule can only be deleted as it was printed.
        for line in _run([self.command, "-w", "-S"]).split("\n"):
            kind, _, rest = line.partition(" ")
            chain, _, what = rest.partition(" ")
            if kind == "-A":
                chains.setdefault(chain, []).append(what)
            elif kind in {"-P", "-N"}:
                chains.setdefault(chain, [])
                if kind == "-P":
                    policies[chain] = what.partition(" ")[0]
        return policies, chains


def saved(command: str) -> dict[str, dict[str, list[str]]]:
    """Every chain of every table that `command` ("iptables", "ip6tables") has: {table: {chain: [rule]}}.

    A rule is what `iptables -S` prints without "-A CHAIN ". Nothing where there is no iptables. Raises IptablesError.
    """
    if not shutil.which(f"{command}-save"):
        return {}
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


def filters(version: int) -> list[Filter]:
    """The filter tables that packets of an IP version pass, of each flavour that has one. Raises NetlinkError.

    Both flavours may have one, and then rules of both apply. Where none has, the default flavour's; none without
    iptables. Executables are not asked, because iptables-legacy creates a table when it lists it.
    """
    found = []
    if policy(version, "FORWARD") is not None:
        found.append(_executable(version, "nft"))
    if has_legacy(version):
        found.append(_executable(version, "legacy"))
    if not any(found) and shutil.which(FAMILIES[version]):
        found.append(FAMILIES[version])
    return [Filter(version, command) for command in found if command]


def policy(version: int, chain: str) -> bool | None:
    """Whether a chain of iptables-nft's table `filter` lets pass what no rule decides on (one without policy does).

    None if it is missing. Asks the kernel: starting an executable takes milliseconds. Raises NetlinkError.
    """
    request = nfgenmsg(_NFT_FAMILY[version]) + text(_CHAIN_TABLE, "filter") + text(_CHAIN_NAME, chain)
    try:
        with netfilter() as opened:
            body = opened.ask(Message(_GET_CHAIN, 0, request))
    except NetlinkError as error:
        if error.errno == errno.ENOENT:
            return None
        raise
    code = attributes(body, NFGENMSG_SIZE).get(_CHAIN_POLICY)
    return code is None or int.from_bytes(code, "big") == _ACCEPT


def stored_rules(version: int, chain: str) -> list[bytes]:
    """The rules of a chain of iptables-nft's table `filter`, as the kernel stores them; comments stand there as text.

    Raises NetlinkError.
    """
    request = nfgenmsg(_NFT_FAMILY[version]) + text(_RULE_TABLE, "filter") + text(_RULE_CHAIN, chain)
    with netfilter() as opened:
        return opened.dump(Message(_GET_RULE, 0, request))


def _executable(version: int, kind: str) -> str:
    """The command for a flavour; "" if there is none."""
    usual = FAMILIES[version]
    if shutil.which(f"{usual}-{kind}"):
        return f"{usual}-{kind}"
    return usual if shutil.which(usual) and flavour(usual) == kind else ""


@lru_cache
def flavour(command: str) -> str:
    """What `command` is: "nft" or "legacy". Raises IptablesError."""
    return "nft" if "nf_tables" in _run([command, "--version"]) else "legacy"


def legacy_tables() -> list[str]:
    """The tables of the legacy flavour in this network namespace. Its executable would create them when asked."""
    return sorted({table for version in FAMILIES for table in _legacy(version)})


def has_legacy(version: int) -> bool:
    """Whether there is a filter table of the legacy flavour."""
    return "filter" in _legacy(version)


def _legacy(version: int) -> list[str]:
    try:
        return _LEGACY[version].read_text(encoding="ascii").split()
    except OSError:  # the module is not loaded
        return []


def _run(argv: list[str], words: str = "") -> str:
    try:
        done = subprocess.run(
            argv,
            input=words,
            capture_output=True,
            encoding="utf-8",
            errors="surrogateescape",  # comments are arbitrary bytes, and must be written back as they were
            timeout=SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise IptablesError(f"{' '.join(argv)}: {error}") from error
    if done.returncode != 0:
        raise IptablesError(f"{' '.join(argv)} ended with {done.returncode}: {done.stderr.strip()}")
    return done.stdout
