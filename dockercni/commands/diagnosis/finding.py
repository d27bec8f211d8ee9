"""One thing that doctor found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Finding:
    """`what` is the case with `subject`; `mend` is a command, or what to do, where it is not ok."""

    level: Literal["ok", "warn", "fail"]
    subject: str
    what: str
    mend: str = ""


def ok(subject: str, what: str) -> Finding:
    """As it should be."""
    return Finding("ok", subject, what)


def warn(subject: str, what: str, mend: str = "") -> Finding:
    """Something will not work as one might think."""
    return Finding("warn", subject, what, mend)


def fail(subject: str, what: str, mend: str = "") -> Finding:
    """Containers will not get their networks."""
    return Finding("fail", subject, what, mend)
