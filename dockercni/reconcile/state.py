"""Small JSON files of our own, below the state directory: each written whole or not at all, each with its schema."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec
import structlog

from dockercni.errors import DockercniError
from dockercni.files import private_directory, read_regular, replace_file

T = TypeVar("T")
log = structlog.get_logger()

_guard: Final = threading.Lock()
_unusable: Final[set[Path]] = set()  # what was complained of already

SCHEMA: Final = 1
MOST: Final = 16 << 20  # bytes of a file


class StateError(DockercniError):
    """A file of ours cannot be read or written; the message names it."""


class Damaged(StateError):
    """What stands in a file of ours is not what we write."""


class TooNew(StateError):
    """A newer version wrote a file of ours: nothing is guessed from it, and it stays as it is."""


class _File(msgspec.Struct):
    schema: int
    value: msgspec.Raw


# Seen with msgspec 0.22 on CPython 3.11, about once in 120 runs of `sync`.
# msgspec learns a type at its first use, and crashes if two threads make it do so at once: so it learns it here
msgspec.json.Decoder(_File)


def read(path: Path, kind: type[T], missing: T) -> T:
    """What stands at `path`; `missing` when there is no such file. Raises StateError."""
    try:
        data = read_regular(path, MOST)
        file = msgspec.json.decode(data, type=_File)
        if file.schema > SCHEMA:
            raise TooNew(f"{path} was written by a newer version of dockercni (schema {file.schema})")
        return msgspec.json.decode(file.value, type=kind)
    except FileNotFoundError:
        return missing
    except OSError as error:
        raise StateError(f"cannot read {path}: {error.strerror}") from error
    except msgspec.DecodeError as error:
        raise Damaged(f"{path} is damaged ({error}); it can be deleted") from error


def recall(path: Path, kind: type[T], missing: T) -> T:
    """As `read`, for what is only of help: `missing` if it cannot be read, with one warning. Raises TooNew."""
    try:
        found = read(path, kind, missing)
    except TooNew:
        raise
    except StateError as error:
        _complain(path, "forgotten", str(error))
        return missing
    _mended(path)
    return found


def keep(path: Path, value: Any) -> bool:
    """As `write`, for what is only of help; whether it was written. A full disk is one warning, not one a file."""
    try:
        write(path, value)
    except StateError as error:
        _complain(path.parent, "not remembered", str(error))
        return False
    _mended(path.parent)
    return True


def _complain(path: Path, event: str, reason: str) -> None:
    with _guard:
        if path in _unusable:
            return
        _unusable.add(path)
    log.warning(event, reason=reason)


def _mended(path: Path) -> None:
    with _guard:
        _unusable.discard(path)


def write(path: Path, value: Any) -> None:
    """Put `value` at `path`. Raises StateError."""
    data = msgspec.json.encode({"schema": SCHEMA, "value": value})
    try:
        private_directory(path.parent)
        replace_file(path, data, scratch=path.parent, prefix=f".{path.name}-")
    except OSError as error:
        raise StateError(f"cannot write {path}: {error.strerror}") from error
