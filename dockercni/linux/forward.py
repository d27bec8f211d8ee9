"""The FORWARD chain of iptables, and the chain of ours in it, directly behind the administrator's rules.

    FORWARD:  [the administrator's own rules] -> DOCKER-USER -> DOCKERCNI-FORWARD -> [Docker's, CNI-FORWARD, ...]

So a rule in DOCKER-USER (or in the administrator's chain of the reference firewall plugin) decides before ours, be it
DROP or ACCEPT, and ours decide before Docker's, whose `-i docker0 ! -o docker0 -j ACCEPT` would let its containers into
our networks. Drops in an nftables table of our own would not need the right place, but they would be final: nobody
could connect two networks with an ACCEPT in DOCKER-USER, as people do with Docker's own networks.

`content` computes the chain from what has to pass, and `changes` the one transaction that brings it there. Both are
pure.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from typing import Final

from dockercni.linux.iptables import IptablesError

IPAddress = IPv4Address | IPv6Address
Chains = Mapping[str, Sequence[str]]

CHAIN: Final = "DOCKERCNI-FORWARD"
ISOLATION: Final = "DOCKERCNI-ISOLATION"
DOCKER: Final = "DOCKER-USER"
MARK: Final = "dockercni-firewall"  # what the comments of our firewall plugin's rules there begin with
CNI: Final = "CNI-FORWARD"  # of the reference firewall plugin, and of ours where no daemon keeps records
FORWARD: Final = "FORWARD"

_KNOWN: Final = "-m conntrack --ctstate RELATED,ESTABLISHED,DNAT"  # answers, and connections to published ports
_ADMIN_CHAIN: Final = "CNI-ADMIN"
_ADMIN_JUMP: Final = '-m comment --comment "CNI firewall plugin admin overrides" -j'
_ADMIN: Final = re.compile(rf"{_ADMIN_JUMP} \S+")
_FIREWALL_MARK: Final = re.compile(rf'--comment "{MARK}:([^"]+)"')
_DOCKER_BRIDGE: Final = re.compile(r"-i (\S+) -j RETURN")
_EARLIER: Final = re.compile(r'--comment "dockercni:([^"]+)" -j ACCEPT')
_PLAIN: Final = re.compile(r"[A-Za-z0-9_.@:-]{1,15}")
_LOCK: Final = Path("/run/dockercni/forward.lock")


@dataclass(frozen=True, slots=True)
class Segment:
    """A link of the host with the addresses behind it; without `link`, addresses that are routed in some other way.

    `open`: other networks may reach it. `shared`: other machines than those with `addresses` are behind the link, such
    as a bridge that is the uplink as well, so that rules apply to the addresses and not to the link.
    """

    link: str = ""
    addresses: frozenset[IPAddress] = frozenset()
    open: bool = False
    shared: bool = False

    @property
    def name(self) -> str:
        """What it is called in comments."""
        return self.link or ",".join(sorted(map(str, self.addresses)))

    def ways(self, version: int) -> Iterator[tuple[str, str]]:
        """How iptables matches what comes from it, and what goes to it, for one IP version."""
        if self.link and not self.shared:
            yield f"-i {self.link}", f"-o {self.link}"
            return
        inner, outer = (f" -i {self.link}", f" -o {self.link}") if self.link else ("", "")
        for address in sorted(self.addresses, key=str):
            if address.version == version:
                host = f"{address}/{address.max_prefixlen}"
                yield f"-s {host}{inner}", f"-d {host}{outer}"


def plain(name: str) -> bool:
    """Whether a link's name may stand in a rule: quotes end words in iptables, and "+" stands for any text."""
    return _PLAIN.fullmatch(name) is not None


def content(
    version: int,
    segments: Iterable[Segment],
    docker: Mapping[str, Collection[int]],
    *,
    isolate: bool,
    admin: Sequence[str] = (),
) -> dict[str, list[str]]:
    """What our chains hold for one IP version; nothing without segments.

    `docker` are Docker's bridges, each with the IP versions for which Docker routes to its containers, and so decides
    itself who may reach which of their ports. `admin` are jumps to the chains of the administrator.
    """
    used = sorted(set(segments), key=lambda one: one.name)
    if not used:
        return {}
    ways = [(one, *way) for one in used for way in one.ways(version)]
    inside = [f"-i {one.link} -o {one.link} -j ACCEPT" for one in used if one.link]
    marks = {one: f'-m comment --comment "dockercni:{one.name}"' for one in used}
    answers = [f"{outward} {_KNOWN} {marks[one]} -j ACCEPT" for one, _, outward in ways]
    leaving = [f"{inward} {marks[one]} -j ACCEPT" for one, inward, _ in ways]
    if not isolate:
        return {CHAIN: [*admin, *answers, *inside, *leaving]}
    bridges = sorted(docker)
    apart = [*(inward for _, inward, _ in ways), *(f"-i {bridge}" for bridge in bridges)]
    return {
        CHAIN: [
            *admin,
            *answers,
            *(f"{inward} {_KNOWN} -j ACCEPT" for _, inward, _ in ways),
            *inside,
            *(f"{inward} -j {ISOLATION}" for inward in apart),
            *(f"-o {bridge} -j RETURN" for bridge in bridges if version in docker[bridge]),
            *leaving,
        ],
        ISOLATION: [
            *(f"{outward} -j DROP" for one, _, outward in ways if not one.open),
            *(f"-i {bridge} -j RETURN" for bridge in bridges),  # among themselves they are Docker's
            *(f"-o {bridge} -j DROP" for bridge in bridges if version not in docker[bridge]),
        ],
    }


def admin_jumps(present: Chains) -> list[str]:
    """The reference firewall plugin's jumps to the administrator's chain, which stand first in its own."""
    return [*dict.fromkeys(rule for rule in present.get(CNI, ()) if _ADMIN.fullmatch(rule))]


def firewall_comment(name: str) -> str:
    """The match that marks a rule of our firewall plugin for a link or addresses of that name."""
    return f'-m comment --comment "{MARK}:{name}"'


def firewall_name(rule: str) -> str:
    """What a rule of our firewall plugin is for; "" for any other rule."""
    found = _FIREWALL_MARK.search(rule)
    return found[1] if found else ""


def cni_chain(present: Chains) -> Iterator[str]:
    """The lines that make the reference plugin's chain, its jump and its administrator's chain, as far as they lack.

    The jump comes behind DOCKER-USER and our own chain: both decide before it.
    """
    forward = present.get(FORWARD, ())
    if CNI not in present:
        yield f":{CNI} - [0:0]"
    if not any(map(_leads_to_cni, forward)):
        before = [at for at, rule in enumerate(forward, 1) if rule in {f"-j {DOCKER}", f"-j {CHAIN}"}]
        comment = '-m comment --comment "CNI firewall plugin rules"'
        yield f"-I {FORWARD} {max(before, default=0) + 1} {comment} -j {CNI}"
    if not admin_jumps(present):
        if _ADMIN_CHAIN not in present:
            yield f":{_ADMIN_CHAIN} - [0:0]"
        yield f"-I {CNI} 1 {_ADMIN_JUMP} {_ADMIN_CHAIN}"


def docker_bridges(present: Chains) -> set[str]:
    """Docker's bridges that our chain has."""
    return {found[1] for rule in present.get(ISOLATION, ()) if (found := _DOCKER_BRIDGE.fullmatch(rule))}


def ordered(present: Chains) -> list[str]:
    """The rules of FORWARD with the jump to our chain in its place, and no jump of a CNI plugin before DOCKER-USER.

    The reference firewall plugin puts its jump on top, and so does a starting Docker with its own. All other rules in
    FORWARD keep their order.
    """
    forward = present.get(FORWARD, ())
    ours, theirs = f"-j {CHAIN}", f"-j {DOCKER}"
    rules = [rule for rule in forward if rule != ours]
    if DOCKER not in present:
        cni = next((at for at, rule in enumerate(forward) if _leads_to_cni(rule)), len(forward))
        kept = forward.index(ours) if ours in forward else 0
        rules.insert(kept if kept <= cni else 0, ours)
        return rules
    if theirs not in rules:
        rules.insert(0, theirs)  # after a flush only a restart of Docker would bring it back
    early = [rule for rule in rules[: rules.index(theirs)] if _leads_to_cni(rule)]
    rules = [rule for at, rule in enumerate(rules) if at > rules.index(theirs) or rule not in early]
    at = rules.index(theirs) + 1
    return [*rules[:at], ours, *dict.fromkeys(early), *rules[at:]]


def changes(present: Chains, wanted: Chains, ours: Collection[str] = ()) -> list[str]:
    """The lines for iptables-restore that bring the filter table to what is `wanted`; none if it is so already.

    They also delete rules of earlier versions: in the reference plugin's chain those for the links in `ours`, which we
    let through, and in DOCKER-USER all of them.
    """
    lines = [f":{chain} - [0:0]" for chain in wanted if present.get(chain) != wanted[chain]]
    lines += [f":{chain} - [0:0]" for chain in (CHAIN, ISOLATION) if chain in present and chain not in wanted]
    lines += [f"-A {chain} {rule}" for chain in wanted if f":{chain} - [0:0]" in lines for rule in wanted[chain]]
    forward = list(present.get(FORWARD, ()))
    if wanted:
        lines += _reordered(forward, ordered(present))
    else:
        lines += [f"-D {FORWARD} {rule}" for rule in forward if rule == f"-j {CHAIN}"]
    for chain in (DOCKER, CNI):
        for rule in present.get(chain, ()):
            if (found := _EARLIER.search(rule)) and (chain == DOCKER or found[1] in ours):
                lines.append(f"-D {chain} {rule}")
    return lines + [f"-X {chain}" for chain in (CHAIN, ISOLATION) if chain in present and chain not in wanted]


def marked(present: Chains) -> set[str]:
    """The names of the segments that our chain lets through."""
    return {found[1] for rule in present.get(CHAIN, ()) if (found := _EARLIER.search(rule))}


def passing(present: Chains) -> Iterator[Segment]:
    """The segments that our chain lets through, without the `shared` ones."""
    for name in marked(present):
        try:
            segment = Segment(addresses=frozenset(map(ip_address, name.split(","))))
        except ValueError:
            segment = Segment(name)
        ways = [outward for version in (4, 6) for _, outward in segment.ways(version)]
        if any(rule.startswith(f"{outward} {_KNOWN} ") for outward in ways for rule in present[CHAIN]):
            kept_apart = any(f"{outward} -j DROP" in present.get(ISOLATION, ()) for outward in ways)
            yield replace(segment, open=ISOLATION in present and not kept_apart)


def last_change() -> int:
    """A token that changes with every change of such rules by us; an equal one means that nobody changed them since."""
    try:
        return os.stat(_LOCK, follow_symlinks=False).st_mtime_ns
    except OSError:
        return 0


class ForwardLock:
    """The lock on reading and changing such rules; see `changing`."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def done(self) -> None:
        """Note a change, in the lock file's time: that needs no room in a full file system."""
        now = time.time_ns()
        os.utime(self._fd, ns=(now, now))


@contextlib.contextmanager
def changing() -> Iterator[ForwardLock]:
    """Take the lock on such rules, because iptables cannot read and change in one step. Raises IptablesError.

    Daemon, commands and plugins started by others share it, so its place is not a setting.
    """
    try:
        _LOCK.parent.mkdir(mode=0o700, exist_ok=True)
        fd = os.open(_LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise IptablesError(f"cannot lock {_LOCK}: {error.strerror}") from error
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield ForwardLock(fd)
    finally:
        os.close(fd)


def _leads_to_cni(rule: str) -> bool:
    return rule.endswith(f"-j {CNI}")


def _reordered(before: Sequence[str], after: Sequence[str]) -> Iterator[str]:
    """The lines that turn one order of rules into the other, for the jumps that are moved or new only."""
    if list(before) == list(after):
        return
    moved = {rule for rule in after if rule in {f"-j {CHAIN}", f"-j {DOCKER}"} and rule not in before}
    moved |= {f"-j {CHAIN}"} | {rule for rule in after if _leads_to_cni(rule)}
    yield from (f"-D {FORWARD} {rule}" for rule in before if rule in moved)
    yield from (f"-I {FORWARD} {at} {rule}" for at, rule in enumerate(after, 1) if rule in moved)
