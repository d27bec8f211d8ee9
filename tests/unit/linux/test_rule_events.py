"""Which of the kernel's messages on nftables rules concern us."""

from __future__ import annotations

import struct

import pytest

from dockercni.linux.events import concerns
from dockercni.linux.netlink import text

NEW_TABLE, NEW_CHAIN, DEL_CHAIN, NEW_RULE, DEL_RULE, NEW_ELEMENT = 0, 3, 5, 6, 8, 12


def message(kind: int, table: str, chain: str = "") -> bytes:
    names = text(1, table) + (text(3 if kind in {NEW_CHAIN, DEL_CHAIN} else 2, chain) if chain else b"")
    body = struct.pack(">BBH", 2, 0, 0) + names
    return struct.pack("=IHHII", 16 + len(body), 10 << 8 | kind, 0, 0, 0) + body


@pytest.mark.parametrize(
    ("kind", "table", "chain", "expected"),
    [
        (NEW_RULE, "filter", "FORWARD", True),
        (NEW_CHAIN, "filter", "FORWARD", True),
        (NEW_RULE, "filter", "DOCKER-USER", False),
        (NEW_RULE, "nat", "FORWARD", False),
        (NEW_RULE, "dockercni", "forward", False),
        (NEW_TABLE, "filter", "", False),
        (NEW_ELEMENT, "filter", "FORWARD", False),
        (DEL_RULE, "nat", "POSTROUTING", True),
        (DEL_CHAIN, "x", "y", True),
    ],
)
def test_concerns(kind: int, table: str, chain: str, expected: bool) -> None:
    """Deletions of any kind do, and what is new in FORWARD, wherever the message stands among others."""
    one = message(kind, table, chain)
    assert concerns(one) == expected
    assert concerns(message(NEW_TABLE, "x") + one) == expected
