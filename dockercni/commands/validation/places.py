"""The positions of the keys in a JSON document. Pure."""

from __future__ import annotations

import json
import re
from typing import Any, Final

_SPACE: Final = re.compile(r"[ \t\r\n]*")
_DECODER: Final = json.JSONDecoder()


def keys(text: str) -> dict[str, tuple[int, int]]:
    """Line and column of every key and array item, by its path in lower case (`plugins[0].ipam.type`).

    In lower case, since plugins match keys in any case. The document must be one that `cni.strict_json` accepts.
    """
    found: dict[str, int] = {}
    _value(text, _SPACE.match(text, 0).end(), "", found)  # type: ignore[union-attr]  # it matches anywhere
    return {path: _position(text, at) for path, at in found.items()}


def short(path: str) -> str:
    """The last key of a path, without its position in an array."""
    return path.rpartition(".")[2].partition("[")[0]


def _value(text: str, at: int, path: str, found: dict[str, int]) -> int:
    """Add the keys of the value that begins at `at` to `found`; returns the offset of its end."""
    if text[at] == "{":
        return _members(text, at, path, found)
    if text[at] == "[":
        return _items(text, at, path, found)
    end: int = _DECODER.raw_decode(text, at)[1]
    return end


def _members(text: str, at: int, path: str, found: dict[str, int]) -> int:
    at = _skip(text, at + 1)
    while text[at] != "}":
        name, end = _DECODER.raw_decode(text, at)
        inner = f"{path}.{name.lower()}" if path else name.lower()
        found[inner] = at
        at = _skip(text, _value(text, _skip(text, _skip(text, end) + 1), inner, found))
        if text[at] == ",":
            at = _skip(text, at + 1)
    return at + 1


def _items(text: str, at: int, path: str, found: dict[str, int]) -> int:
    at = _skip(text, at + 1)
    number = 0
    while text[at] != "]":
        inner = f"{path}[{number}]"
        found[inner] = at
        at = _skip(text, _value(text, at, inner, found))
        number += 1
        if text[at] == ",":
            at = _skip(text, at + 1)
    return at + 1


def _skip(text: str, at: int) -> int:
    match: Any = _SPACE.match(text, at)
    return int(match.end())


def _position(text: str, at: int) -> tuple[int, int]:
    return text.count("\n", 0, at) + 1, at - text.rfind("\n", 0, at)
