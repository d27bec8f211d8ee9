"""What is broken on purpose, as it is handed to the processes of a test."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Literal

from tests.differential.score.paths import Path, shown

ANY = "any plugin"

How = Literal["dropped", "altered", "refused"]


@dataclass(frozen=True, slots=True, order=True)
class Breakage:
    """One key of a plugin: `dropped` from its configuration, its value `old` `altered`, or no longer accepted.

    Of what a plugin accepts and nobody reads, only that it accepts it can be broken.
    """

    plugin: str
    path: Path
    how: How = "dropped"
    old: str = ""
    new: str = ""

    def __str__(self) -> str:
        value = f' = "{self.old}"' if self.how == "altered" else ""
        return f"{self.plugin}: {shown(self.path)}{value}"

    def concerns(self, plugin: str) -> bool:
        """Whether that plugin is the one."""
        return self.plugin in {ANY, plugin}

    def encode(self) -> str:
        """As text, for an environment variable."""
        return json.dumps(asdict(self))

    @classmethod
    def decode(cls, text: str) -> Breakage:
        """What `encode` made."""
        found = json.loads(text)
        return cls(**{**found, "path": tuple(found["path"])})
