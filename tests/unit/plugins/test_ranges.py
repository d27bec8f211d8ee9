"""dockercni.plugins.ranges: which addresses a range set has, and in which order."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, ip_address
from itertools import islice
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dockercni.cni.strict_json import Fields
from dockercni.plugins import ranges
from dockercni.plugins.contract import PluginFailure
from dockercni.plugins.ranges import Range, RangeSet


def read(*sets: list[dict[str, Any]]) -> tuple[RangeSet, ...]:
    """Range sets from their JSON."""
    return ranges.read([[Fields.of(each) for each in one] for one in sets])


@pytest.mark.parametrize(
    ("conf", "start", "end", "gateway"),
    [
        ({"subnet": "10.1.0.0/24"}, "10.1.0.1", "10.1.0.254", "10.1.0.1"),
        ({"subnet": "10.1.0.0/30"}, "10.1.0.1", "10.1.0.2", "10.1.0.1"),
        ({"subnet": "fd00::/64"}, "fd00::1", "fd00::ffff:ffff:ffff:ffff", "fd00::1"),
        ({"subnet": "fd00::/126"}, "fd00::1", "fd00::3", "fd00::1"),
        ({"subnet": "10.1.0.0/24", "gateway": "10.9.9.9"}, "10.1.0.1", "10.1.0.254", "10.9.9.9"),
        ({"subnet": "10.1.0.0/29", "rangeStart": "10.1.0.0"}, "10.1.0.0", "10.1.0.6", "10.1.0.1"),
        ({"subnet": "10.1.0.0/29", "rangeEnd": "10.1.0.7"}, "10.1.0.1", "10.1.0.7", "10.1.0.1"),
    ],
)
def test_defaults(conf: dict[str, Any], start: str, end: str, gateway: str) -> None:
    """A range begins behind the network address and ends before the broadcast address; the gateway is the first."""
    (found,) = read([conf])[0].ranges
    assert (str(found.start), str(found.end), str(found.gateway)) == (start, end, gateway)


HOST_BITS = "Network has host bits set. For a subnet mask of length 8 the network address is 10.0.0.0"


@pytest.mark.parametrize(
    ("sets", "problem"),
    [
        ([[]], "invalid range set 0: empty range set"),
        ([[{}]], "invalid range set 0: IP <nil> not v4 nor v6"),
        ([[{"subnet": "10.1.0.0/31"}]], "invalid range set 0: Network 10.1.0.0/31 too small to allocate from"),
        ([[{"subnet": "10.1.0.9/8"}]], f"invalid range set 0: {HOST_BITS}"),
        (
            [[{"subnet": "10.1.0.0/24", "rangeStart": "10.2.0.0"}]],
            "invalid range set 0: RangeStart 10.2.0.0 not in network 10.1.0.0/24",
        ),
        (
            [[{"subnet": "10.1.0.0/24", "rangeEnd": "10.2.0.0"}]],
            "invalid range set 0: RangeEnd 10.2.0.0 not in network 10.1.0.0/24",
        ),
        (
            [[{"subnet": "10.1.0.0/24"}, {"subnet": "fd00::/64"}]],
            "invalid range set 0: mixed address families",
        ),
        (
            [[{"subnet": "10.9.0.0/24"}], [{"subnet": "10.1.0.0/22"}, {"subnet": "10.1.2.0/24"}]],
            "invalid range set 1: subnets 10.1.0.1-10.1.3.254 and 10.1.2.1-10.1.2.254 overlap",
        ),
    ],
)
def test_errors(sets: list[list[dict[str, Any]]], problem: str) -> None:
    """Each error is the reference's, with the number of the set."""
    with pytest.raises(PluginFailure) as failure:
        read(*sets)
    assert str(failure.value) == problem


def test_sets_that_overlap() -> None:
    """Two sets that share an address are refused, by their numbers."""
    sets = read([{"subnet": "fd00::/64"}], [{"subnet": "10.1.0.0/16"}], [{"subnet": "10.1.7.0/24"}])
    with pytest.raises(PluginFailure, match=r"^range set 1 overlaps with 2$"):
        ranges.check_apart(sets)
    ranges.check_apart(sets[:2])


def order(each: RangeSet, last: str | None = None) -> list[str]:
    """The last bytes of what is tried."""
    return [str(address).split(".")[-1] for address, _ in each.candidates(None if last is None else ip_address(last))]


TWO = [
    {"subnet": "10.1.0.0/29", "rangeStart": "10.1.0.2", "rangeEnd": "10.1.0.4"},
    {"subnet": "10.2.0.0/29", "rangeStart": "10.2.0.1", "rangeEnd": "10.2.0.2"},
]


@pytest.mark.parametrize(
    ("last", "expected"),
    [
        (None, "2 3 4 2"),
        ("10.1.0.2", "3 4 2 2"),
        ("10.1.0.4", "2 2 3 4"),
        ("10.2.0.2", "2 3 4 2"),
        ("10.2.0.1", "2 2 3 4"),
        ("10.1.0.5", "2 3 4 2"),
        ("10.3.0.1", "2 3 4 2"),
        ("fd00::1", "2 3 4 2"),
    ],
)
def test_order(last: str | None, expected: str) -> None:
    """The search goes on behind the last address, crosses the ranges, wraps, skips gateways, tries the last at last."""
    assert order(read(TWO)[0], last) == expected.split()


def test_nothing_but_the_gateway() -> None:
    """A range of the gateway alone has no address."""
    only = {"subnet": "10.1.0.0/29", "rangeStart": "10.1.0.1", "rangeEnd": "10.1.0.1"}
    assert order(read([only])[0]) == []


def test_large_ranges_cost_nothing() -> None:
    """The first candidates of 2^64 come at once."""
    first = islice(read([{"subnet": "fd00::/64"}])[0].candidates(None), 2)
    assert [str(address) for address, _ in first] == ["fd00::2", "fd00::3"]


ADDRESSES = st.integers(0, 40).map(lambda number: IPv4Address("10.0.0.0") + number)


@st.composite
def range_sets(draw: st.DrawFn) -> RangeSet:
    """Sets of small ranges that do not overlap."""
    bounds = sorted(draw(st.lists(ADDRESSES, min_size=2, max_size=6, unique=True)))
    pairs = list(zip(bounds[::2], bounds[1::2], strict=False))
    found = [Range(IPv4Network("10.0.0.0/24"), start, end, draw(ADDRESSES)) for start, end in pairs]
    return RangeSet(tuple(draw(st.permutations(found))))


@given(range_sets(), st.none() | ADDRESSES)
def test_every_address_once(each: RangeSet, last: IPv4Address | None) -> None:
    """Whatever came last, each address but the gateway of its range is tried exactly once, and `last` at the end."""
    tried = [address for address, _ in each.candidates(last)]
    everything = [
        address for one in each.ranges for address in map(ip_address, range(int(one.start), int(one.end) + 1))
    ]
    gateways = {one.gateway for one in each.ranges if one.gateway in one}
    assert sorted(tried, key=int) == sorted(set(everything) - gateways, key=int)
    assert last not in tried or tried[-1] == last
