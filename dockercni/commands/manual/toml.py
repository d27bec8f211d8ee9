"""The settings file with every setting, its default commented out."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from dockercni.commands.usage import sentence
from dockercni.settings import DEFAULT_FILE, TABLE

if TYPE_CHECKING:
    from collections.abc import Iterator


def example() -> str:
    """The text of the file; unedited, it changes nothing."""
    return "\n".join(_lines()) + "\n"


def _lines() -> Iterator[str]:
    yield f"# Settings of dockercni ({DEFAULT_FILE}). Each line shows a default; remove the # to change it."
    yield "# After a change: systemctl reload dockercni. Those marked (restart) need systemctl restart dockercni."
    for row in TABLE:
        yield ""
        yield f"# {sentence(row.help)}{' (restart)' if row.fixed else ''}"
        yield f"# Allowed: {row.kind.allowed}."
        yield f"#{row.key} = {json.dumps(row.default)}"
