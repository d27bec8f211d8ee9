"""Error kinds, modelled by what the caller does next: stop with an exit code, or try again later."""

from enum import IntEnum


class Retry(IntEnum):
    """Whether the same call may succeed later, and how long to wait until then.

    NEVER: something has to be changed first; the periodic run for all containers tries again anyway. LATER: with ever
    longer pauses. OFTEN: a try costs next to nothing, and no event says when it would succeed. SOON: the shortage
    passes in a moment, and a starting container may stand still meanwhile.
    """

    NEVER = 0
    LATER = 1
    OFTEN = 2
    SOON = 3


class DockercniError(Exception):
    """One clear line: what is wrong, where, and what to do about it.

    `exit_code` is what a command ends with; `retry` tells the daemon when the same call may succeed.
    """

    exit_code: int = 1
    retry: Retry = Retry.NEVER


class UsageError(DockercniError):
    """The command line cannot be understood."""

    exit_code = 2


class SettingsError(DockercniError):
    """The settings file, a DOCKERCNI_ variable or a settings flag is wrong."""

    exit_code = 2


class UnknownContainer(DockercniError):
    """The engine knows no container of that name or id."""

    exit_code = 2


class UnknownNetwork(DockercniError):
    """No network configuration bears that name."""

    exit_code = 2
    retry = Retry.LATER


class EngineUnavailable(DockercniError):
    """The engine does not answer now; it may be starting."""

    exit_code = 75
    retry = Retry.LATER


class EngineRefused(DockercniError):
    """What answers cannot be served, now or later: a rootless engine, or something that is not an engine."""


class LockHeld(DockercniError):
    """Another process holds a lock that is needed; the message names the process."""

    exit_code = 75
    retry = Retry.OFTEN

    def __init__(self, lock: str, holder: str) -> None:
        super().__init__(f"{lock} is held by {holder}")
        self.lock = lock
        self.holder = holder


class LockUnusable(DockercniError):
    """The file of a lock cannot be used; the message names it."""

    retry = Retry.OFTEN


class Shortage(DockercniError):
    """The machine, or a limit on this program, has no process, thread, memory or descriptor left at this moment."""

    exit_code = 75
    retry = Retry.SOON


class NotRoot(DockercniError):
    """Namespaces can only be changed by root."""

    exit_code = 77


class LabelError(DockercniError):
    """A label of a container is unknown or malformed."""

    def __init__(self, label: str, value: str, problem: str) -> None:
        super().__init__(f"label {_cut(label)}={_cut(value)}: {_cut(problem)}")
        self.label = label
        self.value = value
        self.problem = problem


def _cut(text: str) -> str:
    """At most what fits into a line: a label may have a megabyte."""
    return text if len(text) <= 300 else f"{text[:300]}..."
