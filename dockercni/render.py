"""The only code that prints. Containers choose their names, so unprintable characters are escaped."""

import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import TextIO


def table(headers: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print aligned columns with two spaces between them; every row has as many cells as there are headers."""
    lines = [[escape(cell) for cell in row] for row in (headers, *rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for cells in lines:
        _write(sys.stdout, "  ".join(map(str.ljust, cells, widths)).rstrip())


def json(obj: Mapping[str, object]) -> None:
    """Print a JSON object, with the version of its schema first."""
    from json import dumps  # noqa: PLC0415  only for -o json: --help must start quickly

    # dumps() escapes everything outside printable ASCII, which keeps terminals safe.
    _write(sys.stdout, dumps({"schema": 1, **obj}, indent=2))


def array(items: Sequence[object]) -> None:
    """Print a JSON array in the form of another program's, without a version."""
    from json import dumps  # noqa: PLC0415  as above

    _write(sys.stdout, dumps(items, indent=4))


def text(whole: str) -> None:
    """Print a trusted text unescaped: a script or a manual page."""
    _write(sys.stdout, whole.removesuffix("\n"))


def line(text: str) -> None:
    """Print one line."""
    _write(sys.stdout, escape(text))


def error(text: str) -> None:
    """Print one line on stderr, with the program's name as every command does."""
    _write(sys.stderr, f"dockercni: {escape(text)}")


def escape(text: str) -> str:
    r"""Escape what a terminal acts on (controls, direction marks, line breaks), as in \x1b or \u202e."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _write(stream: TextIO, text: str) -> None:
    # A character that the terminal's encoding lacks must not raise.
    encoding = stream.encoding or "utf-8"
    stream.write(text.encode(encoding, "backslashreplace").decode(encoding) + "\n")
