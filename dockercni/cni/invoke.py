"""Finds and runs plugin executables. The only module of this package that starts processes.

It makes the JSON that an executable reads, and reads the JSON that it prints; everything else passes objects.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import selectors
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from dockercni.cni import strict_json, trust
from dockercni.cni.conf import NetworkList, PluginConf
from dockercni.cni.errors import SHORTAGES, ErrorCode, PluginError, PluginNotFound, PluginShortage, PluginTimeout
from dockercni.cni.runner import EXEC, PluginCall
from dockercni.cni.strict_json import DocumentError

STDOUT_LIMIT: Final = 16 << 20  # bytes; more than any result, less than what would hurt the host
STDERR_KEPT: Final = 64 << 10  # bytes, the last ones
# Variables that a service manager set for this process alone, and those that only the call may set.
_OURS: Final = ("CNI_", "NOTIFY_SOCKET", "LISTEN_", "WATCHDOG_")
_BUSY_TRIES: Final = 6  # as libcni: while a plugin is being installed, starting it fails with "text file busy"
_BUSY_PAUSE: Final = 1.0  # seconds
_ANSWERED: Final = {"ADD": "result", "VERSION": "list of versions"}  # what stdout of other verbs holds does not count
# How executables and the Go runtime word the errors of SHORTAGES.
_SPELLINGS: Final = (
    "resource temporarily unavailable",
    "cannot allocate memory",
    "too many open files",
    "failed to create new os thread",
)

log = logging.getLogger(__name__)


class ExecRunner:
    """Runs plugin executables from `directories`, each in a session of its own, for at most `timeout` seconds.

    Thread-safe. When a plugin ends, the rest of its process group is killed.
    """

    def __init__(self, directories: Sequence[Path], timeout: float = 60.0) -> None:
        # Plugins run in / and get these directories as CNI_PATH, where a relative path would mean another place.
        self.directories = tuple(Path(os.path.abspath(directory)) for directory in directories)
        self.path = os.pathsep.join(map(str, self.directories))
        self.timeout = timeout

    def find(self, plugin: str) -> Path:
        """The executable of `plugin`: the first regular file of that name. Raises PluginNotFound."""
        if plugin and "/" not in plugin and plugin not in {".", ".."} and "\0" not in plugin:
            for directory in self.directories:
                if os.path.isfile(candidate := directory / plugin):
                    return candidate
        raise PluginNotFound(plugin, map(str, self.directories))

    def choose(self, network: NetworkList, plugin: PluginConf) -> str:  # noqa: ARG002  one kind of plugin only
        """See PluginRunner. Raises PluginError, too, where the executable has no run bit."""
        executable = self.find(plugin.type)
        problem = trust.flaw_of_program(executable)
        if problem or not os.access(executable, os.X_OK):
            error = PermissionError(errno.EPERM if problem else errno.EACCES, problem)
            raise not_started(plugin.type, "ADD", executable, error)
        return EXEC

    def run(self, call: PluginCall) -> Any:
        """See PluginRunner. Raises PluginTimeout when the time is up and the process group was killed."""
        limit = self.timeout if call.timeout is None else min(call.timeout, self.timeout)
        deadline = time.monotonic() + limit
        executable = self.find(call.plugin)
        try:
            trust.refuse(executable, trust.flaw_of_program)
            process = self._start(call, executable, deadline)
        except (OSError, ValueError) as error:  # ValueError: a NUL in a variable
            raise not_started(call.plugin, call.verb, executable, error) from error
        assert process.stdout is not None
        assert process.stderr is not None
        output = _Output(process.stdout.fileno(), process.stderr.fileno())
        with process.stdout, process.stderr:
            try:
                output.collect(process.pid, deadline)
            except _TimeUpError:
                raise PluginTimeout(call.plugin, call.verb, limit, stderr=output.words) from None
            except _FloodError:
                message = f"printed more than {STDOUT_LIMIT >> 20} MiB and was killed"
                raise PluginError(call.plugin, call.verb, message, code=0, stderr=output.words) from None
            except OSError as error:
                raise not_started(call.plugin, call.verb, executable, error) from error
            finally:
                _end(process)
        if process.returncode != 0:
            raise failed(call.plugin, call.verb, process.returncode, bytes(output.stdout), output.words)
        if output.words:
            log.info("plugin %s (%s): %s", call.plugin, call.verb, output.words)
        return answer(call, bytes(output.stdout))

    def _start(self, call: PluginCall, executable: Path, deadline: float) -> subprocess.Popen[bytes]:
        environment = {key: value for key, value in os.environ.items() if not key.startswith(_OURS)}
        environment.update(call.environment)
        stdin = os.memfd_create("cni-config", os.MFD_CLOEXEC)  # not a pipe: a plugin that never reads cannot block us
        try:
            os.write(stdin, strict_json.encode(call.config))
            for attempt in range(1, _BUSY_TRIES + 1):
                os.lseek(stdin, 0, os.SEEK_SET)
                try:
                    return subprocess.Popen(
                        [str(executable)],
                        stdin=stdin,
                        stdout=subprocess.PIPE,
                        stderr=subprocess.PIPE,
                        env=environment,
                        cwd="/",
                        start_new_session=True,
                        pass_fds=tuple(call.inherit),
                    )
                except OSError as error:
                    busy = error.errno == errno.ETXTBSY and time.monotonic() + _BUSY_PAUSE < deadline
                    if not busy or attempt == _BUSY_TRIES:
                        raise
                time.sleep(_BUSY_PAUSE)
            raise AssertionError("unreachable: the last attempt returns or raises")
        finally:
            os.close(stdin)


def answer(call: PluginCall, printed: bytes) -> Any:
    """What a plugin that succeeded `printed`, as PluginRunner.run returns it. Raises PluginError."""
    if call.verb not in _ANSWERED:
        return None
    try:
        return strict_json.decode(printed)
    except DocumentError as error:
        where = f"line {error.position[0]}, column {error.position[1]}: " if error.position else ""
        message = f"printed no valid {_ANSWERED[call.verb]}: {where}{error}"
        raise PluginError(call.plugin, call.verb, message, code=error.code) from error


class _TimeUpError(Exception):
    pass


class _FloodError(Exception):
    pass


class _Output:
    """Collects what a process prints until it ends. The end of the pipes does not count: a child may keep them open."""

    def __init__(self, stdout: int, stderr: int) -> None:
        self.stdout = bytearray()
        self._stderr = bytearray()
        self._pipes = {stdout: self.stdout, stderr: self._stderr}

    @property
    def words(self) -> str:
        """The last part of stderr."""
        return self._stderr[-STDERR_KEPT:].decode("utf-8", "replace").strip()

    def collect(self, pid: int, deadline: float) -> None:
        """Read until the process ends. Raises _TimeUpError, _FloodError."""
        ended = os.pidfd_open(pid)
        try:
            with selectors.DefaultSelector() as selector:
                for pipe in self._pipes:
                    os.set_blocking(pipe, False)
                    selector.register(pipe, selectors.EVENT_READ)
                selector.register(ended, selectors.EVENT_READ)
                ready: set[int] = set()
                while ended not in ready:
                    ready = {key.fd for key, _ in selector.select(max(0.0, deadline - time.monotonic()))}
                    for pipe in ready & self._pipes.keys():
                        if not _drain(pipe, self._pipes[pipe]):
                            selector.unregister(pipe)
                    if len(self.stdout) > STDOUT_LIMIT:
                        raise _FloodError
                    del self._stderr[:-STDERR_KEPT]
                    if ended not in ready and time.monotonic() >= deadline:
                        raise _TimeUpError
            for pipe, buffer in self._pipes.items():  # what it wrote between the last read and its end
                _drain(pipe, buffer)
        finally:
            os.close(ended)


def _drain(pipe: int, buffer: bytearray) -> bool:
    """Append what the pipe holds now, up to the limit; False at the end of the pipe."""
    while len(buffer) <= STDOUT_LIMIT:
        try:
            chunk = os.read(pipe, 1 << 16)
        except BlockingIOError:
            break
        if not chunk:
            return False
        buffer += chunk
    return True


def _end(process: subprocess.Popen[bytes]) -> None:
    """Kill the rest of the process group, then reap its leader.

    In this order, because the kernel cannot reuse the group's id before its leader is reaped.
    """
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def failed(plugin: str, verb: str, status: int, stdout: bytes, words: str) -> PluginError:
    """The error of a plugin that ended with `status`: its own, or a description of what happened.

    `words` is what it wrote to stderr.
    """
    how = f"exit status {status}" if status > 0 else f"killed by signal {-status}, {signal.strsignal(-status)}"

    def error(msg: str, code: int = ErrorCode.UNKNOWN, details: str = "") -> PluginError:
        """The error; its code is 0 if the plugin gave none, as in libcni."""
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
    """The error of an executable that could not be started."""
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
