"""What lets the traffic of a link (a bridge) pass the FORWARD chain of iptables, whoever made that restrictive.

Where Docker's chain for the administrator is, DOCKER-USER, the rules stand there; where FORWARD drops, or has rules of
anybody, in CNI-FORWARD, as those of the reference plugin do. Elsewhere everything passes, and nothing is done.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Final

from dockercni.kernel import iptables, rules
from dockercni.kernel.iptables import FilterChain

DOCKER: Final = "DOCKER-USER"
OURS: Final = "CNI-FORWARD"
ADMIN: Final = "CNI-ADMIN"
_LEGACY: Final = {4: Path("/proc/net/ip_tables_names"), 6: Path("/proc/net/ip6_tables_names")}
_COMMAND: Final = {4: "iptables", 6: "ip6tables"}
_MARKED: Final = re.compile(r'--comment "dockercni:([^"]+)"')
_LOCK: Final = Path("/run/dockercni/forward.lock")


def accepts(link: str) -> list[str]:
    """The rules of one link, as `iptables -S` prints them.

    What comes from it, the answers to it, and connections to published ports; nothing more: accepting all that goes to
    it would open ports that nobody published.
    """
    mark = f'-m comment --comment "{_mark(link)}" -j ACCEPT'
    return [
        f"-i {link} {mark}",
        f"-o {link} -m conntrack --ctstate RELATED,ESTABLISHED {mark}",
        f"-o {link} -m conntrack --ctstate DNAT {mark}",
    ]


@contextlib.contextmanager
def changing() -> Iterator[None]:
    """Be the only one who changes such rules: for iptables looking and changing are two steps. Raises IptablesError.

    One lock for daemon, commands and plugins on their own, so it lies where none of them can be told otherwise.
    """
    try:
        _LOCK.parent.mkdir(mode=0o700, exist_ok=True)
        fd = os.open(_LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise iptables.IptablesError(f"cannot lock {_LOCK}: {error.strerror}") from error
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def restricted(versions: Iterable[int]) -> bool:
    """Whether FORWARD keeps anything of one of the IP versions back. Raises NetlinkError, IptablesError."""
    return any(not _passes(version) for version in versions)


def missing(link: str, versions: Iterable[int]) -> list[int]:
    """For which of the IP versions the rules of `link` are needed and not there. Raises NetlinkError, IptablesError.

    Starts a process only where iptables-legacy is in use.
    """
    return [version for version in versions if not _open(link, version)]


def open_for(link: str, versions: Iterable[int]) -> None:
    """See to it that the rules of `link` are there, where they are needed. Raises NetlinkError, IptablesError."""
    if not missing(link, versions := tuple(versions)):
        return
    with changing():
        for version in missing(link, versions):
            chain = _chain(version)
            present = chain.rules()
            wanted = [rule for rule in accepts(link) if rule not in present]
            if chain.name == DOCKER:
                chain.change(insert=wanted)
            else:
                chain.change(append=wanted)  # behind the jump to the administrator's chain


def close_unused(used: Callable[[str], bool]) -> None:
    """Take the rules of links that are not `used` out of CNI-FORWARD; those in DOCKER-USER are `reconcile`'s.

    Raises IptablesError.
    """
    with changing():
        for chain in iptables.filter_chains(OURS):
            ours = [rule for rule in chain.rules() if (found := _MARKED.search(rule)) and not used(found[1])]
            if ours:
                chain.change(delete=ours)


def _open(link: str, version: int) -> bool:
    wanted = accepts(link)
    for name in (DOCKER, OURS):
        if rules.policy(version, name) is not None:
            return _marked(version, name, link) == len(wanted)
    if _legacy(version):
        for chain in (*_existing(DOCKER, _COMMAND[version]), *_existing(OURS, _COMMAND[version])):
            return all(rule in chain.rules() for rule in wanted)
    return _passes(version)


def _passes(version: int) -> bool:
    policy = rules.policy(version, "FORWARD")
    if policy is False or (policy and rules.rules(version, "FORWARD")):
        return False
    chains = _existing("FORWARD", _COMMAND[version]) if _legacy(version) else []
    return all(chain.policy() == "ACCEPT" and not chain.rules() for chain in chains)


def _legacy(version: int) -> bool:
    try:
        return "filter" in _LEGACY[version].read_text(encoding="ascii").split()
    except OSError:
        return False


def _marked(version: int, chain: str, link: str) -> int:
    """How many rules of a chain bear our mark for `link`."""
    mark = _mark(link).encode() + b"\0"
    return sum(mark in rule for rule in rules.rules(version, chain))


def _mark(link: str) -> str:
    return f"dockercni:{link}"


def _chain(version: int) -> FilterChain:
    command = _COMMAND[version]
    for chain in (*_existing(DOCKER, command), *_existing(OURS, command)):
        return chain
    (forward,) = _existing("FORWARD", command)
    ours = forward.new_target(OURS, "CNI firewall plugin rules")
    if _existing(ADMIN, command):
        ours.change(insert=[f'-m comment --comment "CNI firewall plugin admin overrides" -j {ADMIN}'])
    else:
        ours.new_target(ADMIN, "CNI firewall plugin admin overrides")
    return ours


def _existing(name: str, command: str) -> list[FilterChain]:
    return [chain for chain in iptables.filter_chains(name) if chain.command.startswith(command)]
