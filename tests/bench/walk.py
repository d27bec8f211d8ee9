"""How far one warm ADD in this process walks: Python calls of dockercni, modules, and changes from module to module.

Counted by sys.setprofile, so the same on every machine. With WALK=1 in the environment, all calls go to stderr, the
most frequent first. Before configurations and results travelled as objects, it was 2,124 calls of 48 modules with 652
changes; the targets are half of that.
"""

from __future__ import annotations

import itertools
import os
import sys
import threading
from collections import Counter
from collections.abc import Callable
from types import FrameType
from typing import Any

import dockercni
from tests.bench.attaching import attachment, network, run, runtime
from tests.bench.samples import Figure, Report

_PACKAGE = os.path.dirname(dockercni.__file__)


class Walk:
    """What `work` called of this package, in all of its threads, in order; resumed generators count as calls."""

    def __init__(self, work: Callable[[], object]) -> None:
        self.calls: list[tuple[str, str]] = []
        threading.setprofile(self._note)
        sys.setprofile(self._note)
        try:
            work()
        finally:
            sys.setprofile(None)
            threading.setprofile(None)  # type: ignore[arg-type]  # None is what it was before

    def _note(self, frame: FrameType, event: str, _argument: Any) -> None:
        code = frame.f_code
        if event == "call" and code.co_filename.startswith(_PACKAGE):
            self.calls.append((os.path.relpath(code.co_filename, _PACKAGE), code.co_qualname))

    @property
    def modules(self) -> int:
        """How many modules the calls are of."""
        return len({module for module, _ in self.calls})

    @property
    def changes(self) -> int:
        """How often a call is of another module than the one before."""
        modules = [module for module, _ in self.calls]
        return sum(one != another for one, another in itertools.pairwise(modules))


def walk(report: Report, _runs: int) -> None:
    """One ADD of bridge with masquerade, one published port and firewall, after one that imported what it needs."""
    run("ip", "netns", "add", "walk")
    serving, net = runtime("builtin"), network("walk", "cniw", "10.15.0.0/16")
    for name in ("first", "second"):
        serving.add(net, attachment(name, "walk", 8083))
        serving.delete(net, attachment(name, "walk", 8083))
    found = Walk(lambda: serving.add(net, attachment("third", "walk", 8083)))
    if os.environ.get("WALK"):  # where the calls are
        for (module, name), number in Counter(found.calls).most_common():
            sys.stderr.write(f"{number:5} {module} {name}\n")
    report.figures += [
        Figure("one warm ADD: calls", len(found.calls), "", 1060),
        Figure("one warm ADD: modules", found.modules, "", 48),
        Figure("one warm ADD: changes of module", found.changes, "", 300),
    ]
