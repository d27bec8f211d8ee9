"""The ranges that host-local takes addresses from, and the order in which it tries them. Pure.

Rules and words are those of the reference (plugins/ipam/host-local/backend/allocator).
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Interface, IPv4Network, IPv6Network
from itertools import combinations
from typing import TYPE_CHECKING

from dockercni.cni.strict_json import Fields, shown
from dockercni.plugins import addresses
from dockercni.plugins.contract import PluginFailure

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from dockercni.plugins.addresses import Address

KEYS = ("subnet", "rangeStart", "rangeEnd", "gateway")


@dataclass(frozen=True, slots=True)
class Range:
    """The addresses from `start` to `end` of a subnet, both included, without its gateway."""

    subnet: IPv4Network | IPv6Network
    start: Address
    end: Address
    gateway: Address

    def __contains__(self, address: Address) -> bool:
        return address.version == self.start.version and int(self.start) <= int(address) <= int(self.end)

    def __str__(self) -> str:
        return f"{self.start}-{self.end}"

    def overlaps(self, other: Range) -> bool:
        """Whether an address is in both."""
        return self.start in other or other.start in self


@dataclass(frozen=True, slots=True)
class RangeSet:
    """Ranges of one family; a container gets one address of each set. The first address may be the gateway's."""

    ranges: tuple[Range, ...]

    def __str__(self) -> str:
        return ",".join(map(str, self.ranges))

    def find(self, address: Address) -> Range | None:
        """The range that holds `address`."""
        return next((each for each in self.ranges if address in each), None)

    def overlaps(self, other: RangeSet) -> bool:
        """Whether an address is in both."""
        return any(one.overlaps(another) for one in self.ranges for another in other.ranges)

    def candidates(self, last: Address | None) -> Iterator[tuple[Address, Range]]:
        """Every address once, without gateways, starting after `last` (or with the first), and wrapping around."""
        index = next((index for index, each in enumerate(self.ranges) if last is not None and last in each), None)
        if last is None or index is None:
            index, address = 0, self.ranges[0].start
        else:
            index, address = self._behind(index, last)
        first = address
        while True:
            if address != self.ranges[index].gateway:
                yield address, self.ranges[index]
            index, address = self._behind(index, address)
            if address == first:
                return

    def _behind(self, index: int, address: Address) -> tuple[int, Address]:
        if address != self.ranges[index].end:
            return index, address + 1
        index = (index + 1) % len(self.ranges)
        return index, self.ranges[index].start


def read(sets: Sequence[Sequence[Fields]]) -> tuple[RangeSet, ...]:
    """Range sets from their configurations: validated, defaults filled in.

    Raises PluginFailure, DocumentError for what is no address.
    """
    found = []
    for index, each in enumerate(sets):
        try:
            found.append(_read_set(each))
        except PluginFailure as error:
            raise PluginFailure(f"invalid range set {index}: {error}") from None
    return tuple(found)


def check_apart(sets: Sequence[RangeSet]) -> None:
    """Raise PluginFailure where two sets overlap."""
    for (one, first), (another, second) in combinations(enumerate(sets), 2):
        if first.overlaps(second):
            raise PluginFailure(f"range set {one} overlaps with {another}")


def _read_set(given: Sequence[Fields]) -> RangeSet:
    if not given:
        raise PluginFailure("empty range set")
    found = tuple(map(_read_range, given))
    if len({each.start.version for each in found}) > 1:
        raise PluginFailure("mixed address families")
    for one, another in combinations(found, 2):
        if one.overlaps(another):
            raise PluginFailure(f"subnets {one} and {another} overlap")
    return RangeSet(found)


def _read_range(fields: Fields) -> Range:
    subnet = _read_subnet(fields)
    gateway = addresses.read(fields, "gateway") or subnet.network_address + 1
    start, end = addresses.read(fields, "rangeStart"), addresses.read(fields, "rangeEnd")
    if start is None:
        start = subnet.network_address + 1
    elif start not in subnet or (end is not None and end.version == start.version and int(start) > int(end)):
        raise PluginFailure(f"RangeStart {start} not in network {subnet}")
    if end is None:
        # the last one; of IPv4 the one before, because the last is the broadcast address
        end = subnet.broadcast_address - 1 if isinstance(subnet, IPv4Network) else subnet.broadcast_address
    elif end not in subnet or int(end) < int(start):
        raise PluginFailure(f"RangeEnd {end} not in network {subnet}")
    return Range(subnet, start, end, gateway)


def _read_subnet(fields: Fields) -> IPv4Network | IPv6Network:
    text = fields.string("subnet")
    if not text:
        raise PluginFailure("IP <nil> not v4 nor v6")
    given = addresses.parse_prefixed(text)
    if given is None:
        fields.fail("subnet", f"{shown(text)} is not a subnet")
    length = given.network.prefixlen
    if length > given.max_prefixlen - 2:
        raise PluginFailure(f"Network {given} too small to allocate from")
    if isinstance(given, IPv4Interface) and ":" in text:
        raise PluginFailure("IPNet IP and Mask version mismatch")
    if given.ip != given.network.network_address:
        raise PluginFailure(
            f"Network has host bits set. For a subnet mask of length {length} the network address is "
            f"{given.network.network_address}"
        )
    return given.network
