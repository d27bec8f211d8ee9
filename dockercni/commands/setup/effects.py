"""What is on the host, and the carrying out of a plan's steps."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Final

from dockercni.commands.setup import plan
from dockercni.errors import DockercniError
from dockercni.settings import DEFAULT_FILE

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from dockercni.commands.setup.plan import InstallStep

_SECONDS: Final = 120
_SYSTEMD: Final = Path("/run/systemd/system")  # sd_booted(3)


class StepFailed(DockercniError):
    """A step failed; the steps before it were done, those after it were not."""


def found(files: Mapping[str, str]) -> plan.Found:
    """What is on this host. Raises StepFailed."""
    try:
        settings = DEFAULT_FILE.read_text(encoding="utf-8") if DEFAULT_FILE.exists() else None
    except (OSError, ValueError) as error:
        raise StepFailed(f"cannot read {DEFAULT_FILE}: {error}") from error
    return plan.Found(
        units=frozenset(name for name in files if (plan.UNITS / name).exists()),
        settings=settings,
        systemd=_SYSTEMD.is_dir(),
        packaged=any((directory / plan.DAEMON[0]).exists() for directory in plan.PACKAGED),
    )


def files() -> dict[str, str]:
    """The units and the tmpfiles.d file that come with the program, by name."""
    place = resources.files("dockercni") / "systemd"
    return {file.name: file.read_text(encoding="utf-8") for file in place.iterdir()}


def do(step: InstallStep) -> None:
    """Do one step; a step that was already done succeeds. Raises StepFailed."""
    try:
        match step:
            case plan.Write():
                _write(step)
            case plan.Remove():
                _remove(step)
            case plan.Run():
                _run(step.argv)
            case plan.Note():
                pass
    except OSError as error:
        raise StepFailed(f"cannot {step.line}: {error.strerror}") from error


def _write(step: plan.Write) -> None:
    step.path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    temporary = step.path.with_name(f".{step.path.name}-new")
    temporary.write_text(step.text, encoding="utf-8")
    temporary.chmod(0o644)
    os.replace(temporary, step.path)


def _remove(step: plan.Remove) -> None:
    if step.empty:
        with contextlib.suppress(OSError):
            step.path.rmdir()
    elif step.path.is_dir() and not step.path.is_symlink():
        for below in step.path.iterdir():
            if below.is_dir() and not below.is_symlink():
                shutil.rmtree(below)
            else:
                below.unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # a sidecar's mount cannot be removed, and is empty now
            step.path.rmdir()
    else:
        step.path.unlink(missing_ok=True)


def _run(argv: tuple[str, ...]) -> None:
    try:
        done = subprocess.run(
            argv, check=False, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_SECONDS
        )
    except FileNotFoundError:
        raise StepFailed(f"there is no {argv[0]}; this command needs a host with systemd") from None
    except subprocess.TimeoutExpired:
        raise StepFailed(f"{' '.join(argv)}: not finished after {_SECONDS} s") from None
    if done.returncode:
        raise StepFailed(f"{' '.join(argv)}: exit code {done.returncode}: {done.stderr.strip()}")


def done(steps: Iterator[InstallStep], *, dry_run: bool) -> Iterator[str]:
    """Do each step, except in a `dry_run`; yields one line for each. Raises StepFailed."""
    for step in steps:
        if not dry_run:
            do(step)
        yield step.line if isinstance(step, plan.Note) or not dry_run else f"would {step.line}"
