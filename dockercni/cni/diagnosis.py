"""What a plugin's failure comes to: its own error object, or what can be said in its place."""

from __future__ import annotations

import errno
import signal
from pathlib import Path
from typing import Any, Final

from dockercni.cni import strict_json
from dockercni.cni.errors import SHORTAGES, ErrorCode, PluginError, PluginShortage

# How executables, and the runtime of Go, spell the errors of SHORTAGES.
_SPELLINGS: Final = (
    "resource temporarily unavailable",
    "cannot allocate memory",
    "too many open files",
    "failed to create new os thread",
)


def failed(plugin: str, verb: str, status: int, stdout: bytes, words: str) -> PluginError:
    """The error of a plugin that ended with `status`; `words` is what it wrote to stderr."""
    how = f"exit status {status}" if status > 0 else f"killed by signal {-status}, {signal.strsignal(-status)}"

    def error(msg: str, code: int = ErrorCode.UNKNOWN, details: str = "") -> PluginError:
        """The error, whose code libcni makes 0 where the plugin gave none."""
        said = f"{msg}; {details}" if details else msg
        if any(spelling in said.lower() for spelling in _SPELLINGS):
            return PluginShortage(plugin, verb, said, stderr=words)
        return PluginError(plugin, verb, msg, code=code, details=details, stderr=words)

    if not stdout.strip():
        return error(f'failed: "{words}" ({how})' if words else f"failed with no error message ({how})")
    try:
        report = strict_json.decode(stdout)
    except strict_json.DocumentError:
        report = None
    if isinstance(report, dict):
        code, msg, details = (strict_json.lookup(report, key) for key in ("code", "msg", "details"))
        if _is_code(code) or (isinstance(msg, str) and msg):
            text = msg if isinstance(msg, str) and msg else f"failed with no error message ({how})"
            known = code if _is_code(code) else ErrorCode.UNKNOWN
            return error(text, known, details if isinstance(details, str) else "")
    shown = stdout[:200].decode("utf-8", "replace")
    return error(f"failed ({how}), and what it printed is not a CNI error: {shown!r}")


def not_started(plugin: str, verb: str, executable: Path, problem: OSError | ValueError) -> PluginError:
    """The error of an executable that the kernel would not run."""
    if isinstance(problem, OSError) and problem.errno in SHORTAGES:
        return PluginShortage(plugin, verb, problem)
    reasons = {
        errno.EACCES: "it has no permission to run; chmod 0755 it",
        errno.ENOEXEC: "it is not a program for this machine",
        errno.ETXTBSY: "it is still being written",
        errno.ENOENT: "its interpreter or loader does not exist",
    }
    reason = reasons.get(problem.errno or 0, problem.strerror) if isinstance(problem, OSError) else str(problem)
    return PluginError(plugin, verb, f"{executable} cannot be started: {reason}", code=ErrorCode.UNKNOWN)


def _is_code(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
