"""What `sync` prints: one line for each action, and the verdict."""

from __future__ import annotations

import pytest

from dockercni.commands.sync import _verdict, line
from dockercni.reconcile.outcome import ADD, DEL, NOTE, Outcome, Step


@pytest.mark.parametrize(
    ("step", "dry_run", "text"),
    [
        (
            Step(ADD, "net", "eth0", ("10.1.0.2/16",), ms=3.14, reason="it was new"),
            False,
            "ADD web net eth0 10.1.0.2/16 3.1 ms (it was new)",
        ),
        (Step(ADD, "net", "eth0", reason="it was new"), True, "would ADD web net eth0 (it was new)"),
        (Step(DEL, "net", "eth0", ms=1.0, reason="it stopped"), False, "DEL web net eth0 1.0 ms (it stopped)"),
        (Step(ADD, "net", "eth0", reason="x", error="no"), False, "ADD web net eth0 failed: no"),
        (Step("UNPIN", reason="x", ms=0.2), False, "UNPIN web 0.2 ms (x)"),
        (Step(NOTE, reason="x", drift=True), True, "NOTE web (x)"),
        (Step(NOTE, error="bad label"), False, "NOTE web failed: bad label"),
    ],
)
def test_line(step: Step, dry_run: bool, text: str) -> None:
    """An action in words: verb, container, network, interface, addresses, time, and the reason; or what went wrong."""
    assert line("web", step, dry_run=dry_run) == text


def seen(name: str, attachments: int, *steps: Step) -> Outcome:
    """A look at one container."""
    return Outcome(f"{name}-id", name, True, attachments, steps)


DID = Step(ADD, "net", "eth0")


@pytest.mark.parametrize(
    ("looks", "dry_run", "text"),
    [
        ([], False, "converged: 0 containers, 0 attachments, 0 repaired"),
        ([], True, "converged: 0 containers, 0 attachments"),
        ([seen("a", 1)], False, "converged: 1 container, 1 attachment, 0 repaired"),
        ([seen("a", 1), seen("b", 2, DID, DID)], False, "converged: 2 containers, 3 attachments, 1 repaired"),
        ([seen("a", 0, Step(DEL))], False, "converged: 0 containers, 0 attachments, 1 repaired"),
        ([seen("a", 1, DID)], True, "would be converged: 1 container, 1 attachment, 1 to repair"),
        (
            [seen("a", 1), seen("b", 0, Step(ADD, error="no")), seen("c", 1, Step(NOTE, drift=True))],
            False,
            "not converged: 2 containers, 2 attachments, 2 with problems: b, c",
        ),
    ],
)
def test_verdict(looks: list[Outcome], dry_run: bool, text: str) -> None:
    """The last line says whether all is as it should be, how many there are, and who has problems."""
    assert _verdict(looks, dry_run=dry_run) == text
