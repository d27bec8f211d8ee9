"""What a running daemon takes over from settings that were read again. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace

from dockercni.settings import TABLE, Settings, spelled


@dataclass(frozen=True, slots=True)
class Change:
    """A setting whose value is another one now, in the spelling of the file."""

    key: str
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class Reloaded:
    """The settings to go on with, what changed in them, and what would need a restart to change."""

    settings: Settings
    applied: tuple[Change, ...]
    refused: tuple[Change, ...]


def reloaded(running: Settings, loaded: Settings) -> Reloaded:
    """Take from `loaded` what can change in a running daemon."""
    applied, refused = [], []
    kept = {}
    for row in TABLE:
        before, after = getattr(running, row.attribute), getattr(loaded, row.attribute)
        if before == after:
            continue
        change = Change(row.key, spelled(before), spelled(after))
        if row.fixed:
            kept[row.attribute] = before
            refused.append(change)
        else:
            applied.append(change)
    return Reloaded(replace(loaded, **kept), tuple(applied), tuple(refused))
