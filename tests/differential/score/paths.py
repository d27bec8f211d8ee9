"""Keys inside of a configuration: `("ipam", "ranges", "[]", "[]", "subnet")` is one of each range of each set. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

Path = tuple[str, ...]

EACH = "[]"
ARGUMENTS = "CNI_ARGS"
"""Stands before the keys of CNI_ARGS, which are no part of the configuration."""

_OPAQUE = {("prevresult",), ("sysctl",), ("args", "cni", "sysctl")}
_ABSENT: Any = object()


def opaque(path: Path) -> bool:
    """Whether what is below is no key of the plugin's: another plugin's result, or names that users choose."""
    return folded(path) in _OPAQUE


def folded(path: Path) -> Path:
    """The path in the case in which two are compared: keys match in any case."""
    return tuple(part.lower() for part in path)


def shown(path: Path) -> str:
    """As it is written in messages: `ipam.ranges[][].subnet`."""
    return "".join(part if part == EACH else f".{part}" for part in path).removeprefix(".")


def present(value: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Every key of a configuration that has a value, with that value; keys are folded."""
    if path and path[-1] != EACH and value is not None:
        yield folded(path), value
    if opaque(path):
        return
    if isinstance(value, dict):
        for key, each in value.items():
            yield from present(each, (*path, key))
    elif isinstance(value, list):
        for each in value:
            yield from present(each, (*path, EACH))


def without(value: Any, path: Path) -> Any:
    """A copy of a configuration in which nothing has that key."""
    return _changed(value, folded(path), lambda _: _ABSENT)


def altered(value: Any, path: Path, old: Any, new: Any) -> Any:
    """A copy of a configuration in which that key has `new` wherever it had `old`."""
    return _changed(value, folded(path), lambda found: new if _same(found, old) else found)


def _same(found: Any, other: Any) -> bool:
    return found.lower() == other.lower() if isinstance(found, str) and isinstance(other, str) else found == other


def _changed(value: Any, path: Path, change: Callable[[Any], Any]) -> Any:
    if not path:
        return change(value)
    if path[0] == EACH:
        return [_changed(each, path[1:], change) for each in value] if isinstance(value, list) else value
    if not isinstance(value, dict):
        return value
    pairs = [(key, _changed(each, path[1:], change) if key.lower() == path[0] else each) for key, each in value.items()]
    return {key: each for key, each in pairs if each is not _ABSENT}
