"""Small JSON files below the state directory: each is written whole or not at all, and has a schema number."""

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
_unusable: Final[set[Path]] = set()  # files that were reported already

SCHEMA: Final = 1
MAX_BYTES: Final = 16 << 20  # bytes of a file


class StateError(DockercniError):
    """A state file cannot be read or written; the message names it."""


class Damaged(StateError):
    """A state file has content that dockercni does not write."""


class TooNew(StateError):
    """A newer version wrote a state file: it is neither interpreted nor changed."""


class _File(msgspec.Struct):
    schema: int
    value: msgspec.Raw


# msgspec analyses a type at its first use, and crashes if two threads make it do so at once: so do it here. Seen with
# msgspec 0.22 on CPython 3.11, about once in 120 runs of `sync`.
msgspec.json.Decoder(_File)


def read(path: Path, kind: type[T], missing: T) -> T:
    """What stands at `path`; `missing` when there is no such file. Raises StateError."""
    try:
        data = read_regular(path, MAX_BYTES)
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
    """As `read`, for what is only helpful: `missing` if it cannot be read, with one warning. Raises TooNew."""
    try:
        found = read(path, kind, missing)
    except TooNew:
        raise
    except StateError as error:
        _complain(path, "forgotten", str(error))
        return missing
    _repaired(path)
    return found


def keep(path: Path, value: Any) -> bool:
    """As `write`, for what is only helpful; returns whether it was written. A full disk gives one warning in all."""
    try:
        write(path, value)
    except StateError as error:
        _complain(path.parent, "not remembered", str(error))
        return False
    _repaired(path.parent)
    return True


def _complain(path: Path, event: str, reason: str) -> None:
    with _guard:
        if path in _unusable:
            return
        _unusable.add(path)
    log.warning(event, reason=reason)


def _repaired(path: Path) -> None:
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
