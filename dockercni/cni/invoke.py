"""Finding and running plugin executables.

The only module of this package that starts processes.
"""

from __future__ import annotations

import contextlib
import errno
import os
import selectors
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from dockercni.cni import document
from dockercni.cni.calls import EXEC, PluginCall
from dockercni.cni.conf import NetworkList, PluginConf
from dockercni.cni.errors import ErrorCode, PluginError, PluginNotFound, PluginTimeout

STDOUT_LIMIT: Final = 16 << 20  # bytes; more than any result, less than what would hurt the host
STDERR_KEPT: Final = 64 << 10  # bytes, the last ones
_BUSY_TRIES: Final = 6  # as libcni: a plugin that is just being installed is "text file busy" for a moment
_BUSY_PAUSE: Final = 1.0  # seconds


class ExecRunner:
    """Runs plugin executables from `directories`, each in a session of its own, for at most `timeout` seconds.

    Thread-safe. When a plugin ends, whatever is left of its process group is killed.
    """

    def __init__(self, directories: Sequence[Path], timeout: float = 60.0) -> None:
        self.directories = tuple(directories)
        self.timeout = timeout

    @property
    def path(self) -> str:
        """The value of CNI_PATH."""
        return os.pathsep.join(map(str, self.directories))

    def find(self, plugin: str) -> Path:
        """The executable of `plugin`: the first regular file of that name. Raises PluginNotFound."""
        if plugin and "/" not in plugin and plugin not in {".", ".."} and "\0" not in plugin:
            for directory in self.directories:
                if (candidate := directory / plugin).is_file():
                    return candidate
        raise PluginNotFound(plugin, map(str, self.directories))

    def choose(self, network: NetworkList, plugin: PluginConf) -> str:  # noqa: ARG002  one kind of plugin only
        """See PluginRunner."""
        self.find(plugin.type)
        return EXEC

    def run(self, call: PluginCall) -> bytes:
        """See PluginRunner. Raises PluginTimeout when the time is up and the process group was killed."""
        deadline = time.monotonic() + self.timeout
        process = self._start(call, self.find(call.plugin), deadline)
        assert process.stdout is not None
        assert process.stderr is not None
        with process.stdout, process.stderr:
            try:
                stdout, stderr = _collect(process, deadline)
            except _TimeUpError:
                raise PluginTimeout(call.plugin, call.verb, self.timeout) from None
            except _FloodError:
                message = f"printed more than {STDOUT_LIMIT >> 20} MiB and was killed"
                raise _failure(call, message, "") from None
            finally:
                _end(process)
        if process.returncode != 0:
            raise _diagnosis(call, process.returncode, stdout, stderr)
        return stdout

    def _start(self, call: PluginCall, executable: Path, deadline: float) -> subprocess.Popen[bytes]:
        environment = {key: value for key, value in os.environ.items() if not key.startswith("CNI_")}
        environment.update(call.environment)
        stdin = os.memfd_create("cni-config", os.MFD_CLOEXEC)  # a plugin that never reads it can not block us
        try:
            os.write(stdin, call.config)
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
                        raise _failure(call, _cannot_start(executable, error), "") from error
                time.sleep(_BUSY_PAUSE)
            raise AssertionError("unreachable: the last attempt returns or raises")
        finally:
            os.close(stdin)


class _TimeUpError(Exception):
    pass


class _FloodError(Exception):
    pass


def _collect(process: subprocess.Popen[bytes], deadline: float) -> tuple[bytes, bytes]:
    """What the process printed until it ended: its end counts, not that of the pipes, which a child may keep open."""
    assert process.stdout is not None
    assert process.stderr is not None
    stdout, stderr = process.stdout.fileno(), process.stderr.fileno()
    output = {stdout: bytearray(), stderr: bytearray()}
    ended = os.pidfd_open(process.pid)
    try:
        with selectors.DefaultSelector() as selector:
            for pipe in output:
                os.set_blocking(pipe, False)
                selector.register(pipe, selectors.EVENT_READ)
            selector.register(ended, selectors.EVENT_READ)
            ready: set[int] = set()
            while ended not in ready:
                ready = {key.fd for key, _ in selector.select(max(0.0, deadline - time.monotonic()))}
                for pipe in ready & output.keys():
                    if not _drain(pipe, output[pipe]):
                        selector.unregister(pipe)
                if len(output[stdout]) > STDOUT_LIMIT:
                    raise _FloodError
                del output[stderr][:-STDERR_KEPT]
                if ended not in ready and time.monotonic() >= deadline:
                    raise _TimeUpError
        for pipe, buffer in output.items():  # what it wrote between the last look and its end
            _drain(pipe, buffer)
        return bytes(output[stdout]), bytes(output[stderr][-STDERR_KEPT:])
    finally:
        os.close(ended)


def _drain(pipe: int, buffer: bytearray) -> bool:
    """Append what stands in the pipe now, as far as the limit; False at its end."""
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
    """Kill what is left of the process group, and reap.

    The group goes first: as long as its leader is not reaped, nobody else can have got its number.
    """
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _failure(
    call: PluginCall, message: str, stderr: str, code: int = ErrorCode.UNKNOWN, details: str = ""
) -> PluginError:
    return PluginError(call.plugin, call.verb, message, code=code, details=details, stderr=stderr)


def _diagnosis(call: PluginCall, status: int, stdout: bytes, stderr: bytes) -> PluginError:
    """The error that a failed plugin reports on stdout, or what can be said in its place."""
    words = stderr.decode("utf-8", "replace").strip()
    how = f"exit status {status}" if status > 0 else f"killed by signal {-status}, {signal.strsignal(-status)}"
    if not stdout.strip():
        message = f'failed: "{words}"' if words else "failed with no error message"
        return _failure(call, f"{message} ({how})", words)
    try:
        report = document.decode(stdout)
    except document.DocumentError:
        report = None
    match report:
        case {"msg": str(message), **rest} if message:
            code, details = rest.get("code"), rest.get("details")
            return _failure(
                call,
                message,
                words,
                code if isinstance(code, int) and not isinstance(code, bool) else ErrorCode.UNKNOWN,
                details if isinstance(details, str) else "",
            )
    shown = stdout[:200].decode("utf-8", "replace")
    return _failure(call, f"failed ({how}), and what it printed is not a CNI error: {shown!r}", words)


def _cannot_start(executable: Path, error: OSError) -> str:
    reason = {
        errno.EACCES: "it has no permission to run; chmod 0755 it",
        errno.ENOEXEC: "it is not a program for this machine",
        errno.ETXTBSY: "it is still being written",
        errno.ENOENT: "its interpreter or loader does not exist",
    }.get(error.errno or 0, error.strerror)
    return f"{executable} cannot be started: {reason}"
