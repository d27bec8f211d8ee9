"""One finding of doctor."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Finding:
    """What doctor says about `subject`; `fix` is a command, or what to do, unless the level is "ok"."""

    level: Literal["ok", "warn", "fail"]
    subject: str
    what: str
    fix: str = ""


def ok(subject: str, what: str) -> Finding:
    """As it should be."""
    return Finding("ok", subject, what)


def warn(subject: str, what: str, fix: str = "") -> Finding:
    """Something may not work as expected."""
    return Finding("warn", subject, what, fix)


def fail(subject: str, what: str, fix: str = "") -> Finding:
    """Containers will not get their networks."""
    return Finding("fail", subject, what, fix)
