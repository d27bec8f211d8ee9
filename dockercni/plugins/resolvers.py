"""resolv.conf files, as host-local reads them."""

from __future__ import annotations

from typing import Final

from dockercni.cni.result import DNS

_MOST: Final = 1 << 20  # bytes


def read(path: str) -> DNS:
    """The DNS settings of a file; empty ones without a path. Raises OSError."""
    if not path:
        return DNS()
    from dockercni.files import read_regular  # noqa: PLC0415  a cold start must not pay for what is hardly used

    return parse(read_regular(path, _MOST, follow=True).decode("utf-8", "replace"))


def parse(text: str) -> DNS:
    """The DNS settings of a text: the last domain, everything of the rest; unknown lines and comments are skipped."""
    found: dict[str, list[str]] = {"nameserver": [], "domain": [], "search": [], "options": []}
    for line in text.splitlines():
        keyword, *values = line.split() or [""]
        if keyword in found and values:
            found[keyword] += values[:1] if keyword in {"nameserver", "domain"} else values
    return DNS(
        tuple(found["nameserver"]),
        next(reversed(found["domain"]), ""),
        tuple(found["search"]),
        tuple(found["options"]),
    )
