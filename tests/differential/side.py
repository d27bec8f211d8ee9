"""One of two twin hosts: a process inside of it that runs plugins, and what can be seen there afterwards."""

from __future__ import annotations

import ctypes
import json
import multiprocessing
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from dockercni.cni import Cache, CNIError, ExecRunner, Result, Runtime, RuntimeConf, parse_list
from dockercni.cni.runner import EXEC, PluginCall
from dockercni.plugins.dispatch import Dispatch
from tests.differential.score import seam
from tests.hosts import Host

if TYPE_CHECKING:
    from collections.abc import Mapping
    from multiprocessing.connection import Connection

EXECUTABLES = Path("/usr/lib/cni")
CACHE = Path("/var/lib/cni")
Backend = Literal["exec", "builtin"]

# a server without threads, from which a process of each test is forked with everything imported
_processes = multiprocessing.get_context("forkserver")
_processes.set_forkserver_preload([__name__])


@dataclass(frozen=True, slots=True)
class Step:
    """One verb for one plugin, or for a whole list if `conf` has `plugins`.

    `netns` is the name of a namespace made by `Twin.container`, or a path, or "" for one that is gone. `environment`
    overrides CNI_* variables; None takes one away.
    """

    verb: str
    conf: Mapping[str, Any]
    container: str = "c1"
    ifname: str = "eth0"
    netns: str | None = None
    args: str = ""
    capability_args: Mapping[str, Any] = field(default_factory=dict)
    environment: Mapping[str, str | None] = field(default_factory=dict)

    @property
    def netns_path(self) -> str:
        """The value of CNI_NETNS."""
        name = self.container if self.netns is None else self.netns
        return name if not name or "/" in name else f"/run/netns/{name}"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a step came to: the parsed result (None for verbs without), or the error."""

    result: Any = None
    code: int | None = None
    msg: str = ""
    details: str = ""

    @property
    def failed(self) -> bool:
        """Whether it is an error."""
        return self.code is not None

    def shown(self) -> dict[str, Any]:
        """As it is compared: without what is not there."""
        if not self.failed:
            return {"result": self.result}
        return {"code": self.code, "msg": self.msg, "details": self.details}


class Side:
    """A private host in which all plugins are served by one backend."""

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self.host = Host()
        assert self.host.holder
        self._connection, theirs = _processes.Pipe()
        arguments = (theirs, self.host.holder.pid, backend, seam.environment())
        self._process = _processes.Process(target=_serve, args=arguments, daemon=True)
        self._process.start()
        theirs.close()

    def close(self) -> None:
        """End the process and the host."""
        self._connection.close()
        self._process.join(10)
        self.host.close()

    def run(self, step: Step) -> Outcome:
        """Run one step inside; an error of a plugin is an outcome."""
        self._connection.send(step)
        outcome: Outcome = self._connection.recv()
        return outcome


def _serve(connection: Connection, holder: int, backend: Backend, environment: Mapping[str, str]) -> None:
    """Enter the namespaces of process `holder`, and run what comes over the connection until it ends."""
    if backend != EXEC:
        os.environ.update(environment)
        seam.install()
    libc = ctypes.CDLL(None, use_errno=True)
    descriptors = [os.open(f"/proc/{holder}/ns/{kind}", os.O_RDONLY) for kind in ("net", "mnt")]
    for descriptor in descriptors:
        if libc.setns(descriptor, 0):
            raise OSError(ctypes.get_errno(), "cannot enter the private host")
        os.close(descriptor)
    os.chdir("/")
    executables = ExecRunner([EXECUTABLES], timeout=30)
    runner = executables if backend == EXEC else Dispatch(executables, "builtin")
    while True:
        try:
            step = connection.recv()
        except EOFError:
            return
        run = _run_list if "plugins" in step.conf else _run_plugin
        try:
            outcome = Outcome(run(runner, step, backend))
        except CNIError as error:
            outcome = Outcome(None, int(error.code), error.msg, error.details)
        connection.send(outcome)


def _run_plugin(runner: ExecRunner | Dispatch, step: Step, backend: Backend) -> Any:
    environment = {
        "CNI_COMMAND": step.verb,
        "CNI_CONTAINERID": step.container,
        "CNI_NETNS": step.netns_path,
        "CNI_IFNAME": step.ifname,
        "CNI_ARGS": step.args,
        "CNI_PATH": runner.path,
        **step.environment,
    }
    given = {key: value for key, value in environment.items() if value is not None}
    plugin = str(step.conf["type"])
    config = json.loads(json.dumps(step.conf))
    answer = runner.run(PluginCall(plugin, step.verb, config, given, backend))
    assert config == json.loads(json.dumps(step.conf)), "a plugin changed its configuration"
    return _plain(answer)


def _plain(answer: Any) -> Any:
    """An answer as JSON has it; that of a plugin in this process has to be exactly what JSON makes of it."""
    value = answer.raw if isinstance(answer, Result) else answer
    plain = json.loads(json.dumps(value))
    assert value == plain, f"JSON makes {plain} of {value}"
    return plain


def _run_list(runner: ExecRunner | Dispatch, step: Step, backend: Backend) -> Any:
    runtime = Runtime(runner, Cache(CACHE))
    network = parse_list(json.dumps(step.conf).encode())
    pairs = tuple((key, value) for key, _, value in (pair.partition("=") for pair in step.args.split(";") if pair))
    attachment = RuntimeConf(step.container, step.netns_path, step.ifname, pairs, step.capability_args)
    match step.verb:
        case "ADD":
            return _plain(dict(runtime.add(network, attachment).result or {}))
        case "DEL":
            runtime.delete(network, attachment)
        case "CHECK":
            entry = Cache(CACHE).read(network.name, step.container, step.ifname)
            assert entry, "CHECK of what was never added"
            runtime.check(entry)
        case "GC":
            runtime.gc(network, [(step.container, step.ifname)] if step.container else [])
        case "STATUS":
            runtime.status(network)
        case _:
            raise AssertionError(step.verb)
    return None
