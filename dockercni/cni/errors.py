"""The errors of CNI, one class for each case that a caller may want to distinguish."""

from __future__ import annotations

import errno
from enum import IntEnum
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path


class ErrorCode(IntEnum):
    """Error codes of the CNI specification, section "Error", and those that only the Go plugin skeleton uses."""

    UNKNOWN = 0  # Go skeleton
    INCOMPATIBLE_VERSION = 1
    UNSUPPORTED_FIELD = 2
    UNKNOWN_CONTAINER = 3
    INVALID_ENVIRONMENT = 4
    IO_FAILURE = 5
    DECODING_FAILURE = 6
    INVALID_CONFIGURATION = 7
    INVALID_NAMESPACE = 8  # Go skeleton
    TRY_AGAIN_LATER = 11
    PLUGIN_NOT_AVAILABLE = 50
    LIMITED_CONNECTIVITY = 51
    INTERNAL = 999  # Go skeleton


# The same call fails again until the plugin or its configuration is changed.
PERMANENT: Final = frozenset(
    {
        ErrorCode.INCOMPATIBLE_VERSION,
        ErrorCode.UNSUPPORTED_FIELD,
        ErrorCode.INVALID_ENVIRONMENT,
        ErrorCode.DECODING_FAILURE,
        ErrorCode.INVALID_CONFIGURATION,
    }
)
# A system call fails with these while there is no process, thread, memory or descriptor left for it.
SHORTAGES: Final = frozenset({errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE})


class CNIError(Exception):
    """A CNI operation failed; `code` is one of ErrorCode, or a plugin's own from 100 on."""

    def __init__(self, msg: str, code: int, details: str = "") -> None:
        super().__init__(msg, code, details)
        self.msg = msg
        self.code = code
        self.details = details

    def __str__(self) -> str:
        return f"{self.msg}; {self.details}" if self.details else self.msg

    @property
    def permanent(self) -> bool:
        """Whether the same call will fail again until the plugin or its configuration is changed."""
        return self.code in PERMANENT

    def to_dict(self, cni_version: str | None = None) -> dict[str, str | int]:
        """Return `{cniVersion?, code, msg, details?}`, the error object of the specification."""
        error: dict[str, str | int] = {} if cni_version is None else {"cniVersion": cni_version}
        error |= {"code": int(self.code), "msg": self.msg}
        return error | {"details": self.details} if self.details else error


class ConfigurationError(CNIError):
    """A network configuration cannot be used; the text is one line that says where and why."""

    def __init__(
        self,
        problem: str,
        *,
        source: Path | None = None,
        position: tuple[int, int] | None = None,
        key: str = "",
        code: int = ErrorCode.INVALID_CONFIGURATION,
    ) -> None:
        place = "configuration" if source is None else str(source)
        if position is not None:
            place += f":{position[0]}:{position[1]}"
        text = ": ".join(part for part in (place, key, problem) if part)
        super().__init__(_one_line(text), code)
        self.problem = problem
        self.source = source
        self.line = position[0] if position else None
        self.column = position[1] if position else None
        self.key = key


class VersionError(CNIError):
    """A CNI version is malformed or unknown, or does not offer what was asked for."""

    def __init__(self, msg: str, details: str = "") -> None:
        super().__init__(msg, ErrorCode.INCOMPATIBLE_VERSION, details)


class InvalidParameters(CNIError):
    """A container id, a network name or an interface name is not allowed."""

    def __init__(self, msg: str, details: str = "", code: ErrorCode = ErrorCode.INVALID_ENVIRONMENT) -> None:
        super().__init__(msg, code, details)


class ResultError(CNIError):
    """A result cannot be read, or cannot be expressed in the wanted version; `key` is the JSON path, if any."""

    def __init__(self, problem: str, *, key: str = "") -> None:
        super().__init__(_one_line(f"{key}: {problem}" if key else problem), ErrorCode.DECODING_FAILURE)
        self.key = key


class CacheError(CNIError):
    """A cache entry cannot be read or written; the text is one line."""

    def __init__(self, msg: str, details: str = "") -> None:
        super().__init__(_one_line(msg), ErrorCode.IO_FAILURE, _one_line(details))


class EntryTooNew(CacheError):
    """A newer version wrote this entry. It is not broken, so it must not be changed or removed."""


class PluginNotFound(CNIError):
    """No searched directory holds the plugin."""

    def __init__(self, plugin: str, directories: Iterable[str | Path]) -> None:
        self.plugin = plugin
        self.directories = tuple(map(str, directories))
        where = ", ".join(self.directories) or "no directory at all"
        # not "invalid configuration": the same configuration works once the plugin is installed
        super().__init__(f'plugin "{plugin}" not found', ErrorCode.PLUGIN_NOT_AVAILABLE, f"searched {where}")


class PluginError(CNIError):
    """A plugin reported an error, or failed without one; `msg`, `code` and `details` are the plugin's own."""

    def __init__(self, plugin: str, verb: str, msg: str, *, code: int, details: str = "", stderr: str = "") -> None:
        super().__init__(msg, code, details)
        self.plugin = plugin
        self.verb = verb
        self.stderr = stderr

    def __str__(self) -> str:
        return f'plugin "{self.plugin}" failed ({self.verb.lower()}): {super().__str__()}'


class PluginShortage(PluginError):
    """The machine had no process, thread, memory or descriptor left for a plugin; nothing is wrong with the plugin."""

    def __init__(self, plugin: str, verb: str, problem: OSError | str, *, stderr: str = "") -> None:
        reason = problem if isinstance(problem, str) else problem.strerror
        super().__init__(plugin, verb, f"not now: {reason}", code=ErrorCode.TRY_AGAIN_LATER, stderr=stderr)


class PluginTimeout(PluginError):
    """A plugin did not finish in time."""

    def __init__(self, plugin: str, verb: str, seconds: float, *, stderr: str = "") -> None:
        msg = f"not finished after {seconds:g} s"
        super().__init__(plugin, verb, msg, code=ErrorCode.TRY_AGAIN_LATER, stderr=stderr)
        self.seconds = seconds


class ChainError(CNIError):
    """A verb that continues after errors failed; `failures` has one for each plugin or attachment that failed."""

    def __init__(self, verb: str, network: str, failures: Sequence[CNIError]) -> None:
        self.verb = verb
        self.network = network
        self.failures = tuple(failures)
        details = "; ".join(str(failure) for failure in self.failures)
        code = self.failures[0].code if self.failures else ErrorCode.UNKNOWN
        super().__init__(f'{verb} of network "{network}" failed', code, details)

    @property
    def permanent(self) -> bool:
        """Whether every one of the failures is."""
        return all(failure.permanent for failure in self.failures)


def is_shortage(error: BaseException) -> bool:
    """Whether a lack of processes, threads, memory or descriptors caused it: another try may succeed soon."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ChainError) and any(map(is_shortage, cause.failures)):
            return True
        if isinstance(cause, PluginShortage) or (isinstance(cause, OSError) and cause.errno in SHORTAGES):
            return True
        cause = cause.__cause__
    return False


def _one_line(text: str) -> str:
    # File names, keys and values come from outside. They must not break a log line or send codes to a terminal.
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)
