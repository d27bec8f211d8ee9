"""What a run of all cases tells: which keys each plugin reads, and which each case contains."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from dockercni.plugins.table import PLUGINS
from tests.differential.score import allowed
from tests.differential.score.breakage import ANY, Breakage
from tests.differential.score.paths import Path, folded

_Cases = dict[tuple[str, Path], dict[str, set[str | None]]]
_OF_THE_PROTOCOL: Final = (("name",), ("cniVersion",))


@dataclass(slots=True)
class Record:
    """`read` and `refused` are the keys that plugins look at when they serve, or are asked whether they could."""

    read: set[tuple[str, Path]] = field(default_factory=set)
    refused: set[tuple[str, Path]] = field(default_factory=set)
    _seen: _Cases = field(default_factory=dict)
    _served: _Cases = field(default_factory=dict)
    _sizes: Counter[str] = field(default_factory=Counter)

    @classmethod
    def of(cls, lines: Iterable[str]) -> Record:
        """From the lines that `seam` writes."""
        record = cls()
        for line in lines:
            what, case, plugin, parts, value = json.loads(line)
            path = tuple(parts)
            if plugin not in PLUGINS:
                continue
            match what:
                case "reads":
                    record.read.add((plugin, path))
                case "refuses":
                    record.refused.add((plugin, path))
                case "has" | "serves" if case:
                    record._sizes[case] += 1
                    cases = record._seen if what == "has" else record._served
                    for owner in (plugin, ANY):
                        cases.setdefault((owner, path), {}).setdefault(case, set()).add(value)
        return record

    def breakages(self) -> list[Breakage]:
        """Everything that can be broken: keys in allow-lists, keys that are read, each value of the enumerated ones."""
        known = allowed.everything()
        served = {(plugin, path) for plugin, path in self.read if path not in _OF_THE_PROTOCOL}
        found = [Breakage(ANY, path) for path in _OF_THE_PROTOCOL]
        spelled = {(plugin, folded(path)): path for plugin, path in [*sorted(served), *known]}
        looked_at = {(plugin, folded(path)) for plugin, path in served | self.refused}
        for (plugin, key), path in sorted(spelled.items()):
            ignored = (plugin, key) not in looked_at
            found += allowed.values(plugin, path) or [Breakage(plugin, path, "refused" if ignored else "dropped")]
        return found

    def cases(self, broken: Breakage, *, served: bool) -> list[str]:
        """The cases whose configurations contain what is broken, those that contain little else first.

        With `served` those in which the plugin did not refuse such a configuration: that a mistake is noticed does not
        mean that the key is honoured.
        """
        containing = (self._served if served else self._seen).get((broken.plugin, folded(broken.path)), {})
        fitting = [
            case
            for case, values in containing.items()
            if broken.how != "altered" or broken.old in {str(value or "").lower() for value in values}
        ]
        return sorted(fitting, key=lambda case: (self._sizes[case], case))
