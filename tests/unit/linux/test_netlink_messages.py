"""Netlink messages: attributes, links, VLANs, elements as bytes, and the kernel's answers read."""

from __future__ import annotations

import errno

import pytest

from dockercni.linux import links, netlink, nft_elements
from dockercni.linux.netlink import Message, Netlink, NetlinkError

# what pyroute2 makes of the same requests, but for the bit that says "nested"
NATIVE_VLAN_100 = "0700000007000000000000000000000014001a80060000000100000008000200060064000000"[:72]
TAGGED_VLAN_200 = "0700000007000000000000000000000014001a800600000001000000080002000000c800"


def test_attributes_come_back() -> None:
    """What is packed, nested and padded is read as it was."""
    inner = netlink.text(3, "eth0") + netlink.u32(4, 1500)
    outer = dict(netlink.items(netlink.nest(18, inner) + netlink.attribute(1, b"abcde")))
    assert outer[1] == b"abcde"
    found = netlink.attributes(outer[18])
    assert netlink.string(found[3]) == "eth0"
    assert netlink.number(found[4]) == 1500


def test_vlan_messages() -> None:
    """A VLAN is set and deleted at a port of a bridge; the native one is for frames without a tag, both ways."""
    assert links.add_vlan(7, 100, native=True) == Message(19, 0, bytes.fromhex(NATIVE_VLAN_100))
    assert links.add_vlan(7, 200) == Message(19, 0, bytes.fromhex(TAGGED_VLAN_200))
    assert links.remove_vlan(7, 200) == Message(17, 0, bytes.fromhex(TAGGED_VLAN_200))


def test_vlans_read() -> None:
    """The VLANs of one port are picked from what the kernel tells of all."""
    bodies = [links.add_vlan(7, 1, native=True).body, links.add_vlan(8, 5).body, links.add_vlan(7, 9).body]
    assert links.vlan_ids(bodies, 7) == [1, 9]


@pytest.mark.parametrize("mac", ["02:11:22:33:44:55", "02-11-22-33-44-55", "0211.2233.4455"])
def test_mac(mac: str) -> None:
    """A MAC in each of the three ways of writing it."""
    assert links.parse_mac(mac) == bytes.fromhex("021122334455")


@pytest.mark.parametrize("mac", ["", "02:11:22:33:44", "02:11-22:33-44:55", "021122334455", "02:11:22:33:44:zz"])
def test_bad_mac(mac: str) -> None:
    """Anything else is refused."""
    with pytest.raises(ValueError, match=r"MAC|fromhex"):
        links.parse_mac(mac)


def test_kernel_answers() -> None:
    """The kernel finds lo, does not find what is not there, and says in words why it refuses."""
    with Netlink() as opened:
        found = links.find(opened, "lo")
        assert found
        assert (found.name, found.mac) == ("lo", "00:00:00:00:00:00")
        assert links.find(opened, "no-such-link") is None
        assert "lo" in [link.name for link in links.every(opened)]
        with pytest.raises(NetlinkError) as refused:
            opened.do(Message(18, 0, b""), Message(9999, 0, bytes(16)))
        assert refused.value.errno in {errno.EOPNOTSUPP, errno.EPERM, errno.EINVAL}
        opened.do()


def test_element_comment_is_cut() -> None:
    """A comment that is too long for nft is cut, and the element stays readable."""
    table = nft_elements.Table("t")
    element = nft_elements.Element("s", b"\x0a\x01\x00\x02", comment="x" * 300)
    (body,) = (message.body for message in table._messages(0, 0, [element], whole=True))
    assert nft_elements._read("s", body) == [nft_elements.Element("s", b"\x0a\x01\x00\x02", comment="x" * 127)]
