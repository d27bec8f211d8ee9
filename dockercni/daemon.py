"""How is it wired? The composition root, and the daemon."""

from __future__ import annotations

import os
import select
import signal
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import structlog

from dockercni.cni import Cache, CacheError, ExecRunner, Runtime
from dockercni.early import Early
from dockercni.engine.client import Client
from dockercni.engine.watch import Watch
from dockercni.errors import DockercniError, NotRoot
from dockercni.observe import logs, notify
from dockercni.reconcile import records, state
from dockercni.reconcile.attach import Attacher
from dockercni.reconcile.forwarding import Forwarding
from dockercni.reconcile.lanes import Lanes
from dockercni.reconcile.locks import Locks
from dockercni.reconcile.look import Looker, Outcome, Policy, Seen
from dockercni.reconcile.networks import Networks
from dockercni.reconcile.sandbox import Sandboxes
from dockercni.settings import Settings

DRAIN_SECONDS: Final = 20.0  # less than what service managers and `docker stop -t` commonly allow
_ALL: Final = "*"  # the lane of looking at all; no container id looks like it

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Parts:
    """Everything that a command or the daemon may need, wired by the settings."""

    settings: Settings
    client: Client
    networks: Networks
    sandboxes: Sandboxes
    attacher: Attacher

    def looker(self, engine_id: str, policy: Policy) -> Looker:
        """What looks at the containers of that engine."""
        return Looker(self.client, engine_id, self.sandboxes, self.attacher, policy)

    def everything(self, engine_id: str) -> list[str]:
        """The ids to look at: of the running containers with network mode none, of all records, and of all pins."""
        ids = {listed.Id: None for listed in self.client.running() if listed.HostConfig.NetworkMode == "none"}
        for record in records.records(self.attacher.cache, engine_id):
            if not isinstance(record, CacheError):
                ids[record.attachment.container_id] = None
        ids.update(dict.fromkeys(self.sandboxes.pins()))
        return list(ids)


def wire(settings: Settings) -> Parts:
    """Put the parts together; nothing is opened or asked yet. Raises NotRoot."""
    if os.geteuid() != 0:
        raise NotRoot("network namespaces can only be changed by root; try sudo")
    client = Client(settings.docker_host, trust_image_labels=settings.trust_image_labels)
    networks = Networks(settings.cni_conf_dir, settings.state_dir, settings.default_network)
    cache = Cache(settings.cni_cache_dir)
    locks = Locks(settings.run_dir, settings.plugin_timeout)
    runtime = Runtime(ExecRunner(settings.cni_bin_dir, settings.plugin_timeout), cache)
    attacher = Attacher(runtime, cache, networks, locks, Forwarding(locks))
    return Parts(settings, client, networks, Sandboxes(client, settings.netns_dir), attacher)


class Daemon:
    """Watches the engine and keeps every container looked at, until told to stop."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._looker: Looker | None = None
        self._announced = False
        self._lanes = Lanes(self._look, parts.settings.workers)
        self._early = Early(parts.settings, parts.client, ask=lambda key, hint: self._lanes.ask(key, hint, urgent=True))
        self._stop = threading.Event()

    def run(self) -> int:
        """Serve until SIGTERM or SIGINT; SIGHUP looks at everything again. Returns the exit code."""
        # A signal may reach any thread, and does not wake one that waits for a lock: what is written to a pipe does.
        wake, wakeup = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(wakeup)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self._stop.set())
        signal.signal(signal.SIGHUP, lambda *_: None)
        watch = Watch(
            self._parts.client,
            connected=self._connected,
            look=self._event,
            stop=self._stop,
        )
        if (engine := self._early.remembered()) and self._first_start.exists():
            self._looker = self._parts.looker(engine.id, self._policy([]))
        self._early.start()
        threading.Thread(target=watch.run, name="watch", daemon=True).start()
        notify.send("READY=1")
        while not self._stop.is_set():
            asked, _, _ = select.select([wake], [], [], self._parts.settings.resync_interval)
            if asked:
                os.read(wake, 4096)
            if not self._stop.is_set():
                self._lanes.ask(_ALL, "SIGHUP" if asked else "resync interval")
        notify.send("STOPPING=1")
        unfinished = self._lanes.drain(DRAIN_SECONDS)
        if unfinished:
            log.warning("stopped with unfinished work", unfinished=unfinished)
        self._early.stop()
        log.info("stopped", reason="signal")
        return 0

    def _connected(self) -> None:
        self._early.starting.confirm()
        self._lanes.ask(_ALL, "connected to the engine")

    def _event(self, container_id: str, action: str) -> None:
        if action == "start":
            self._early.starting.confirm(container_id)
        self._ask(container_id, action)

    def _ask(self, container_id: str, hint: str) -> None:
        self._early.starting.touch(container_id)
        self._lanes.ask(container_id, hint)

    def _look(self, key: str, hint: str) -> bool:
        """The lanes' work: True when nothing is left to do for `key`."""
        try:
            if key == _ALL:
                self._look_at_all(hint)
                return True
            if self._looker is None:  # an event before the first list: that look will come
                return True
            seen = self._early.starting.look(self._looker, key)
        except DockercniError as error:
            log.warning("look failed", id=key, reason=str(error), hint=hint)
            return not error.retry
        except Exception:
            log.exception("look failed", id=key, hint=hint)  # a defect of ours must not end the lane
            return False
        if seen is None:
            return True
        report(seen)
        return not seen.retry

    def _look_at_all(self, hint: str) -> None:
        engine = self._parts.client.engine()
        ids = self._parts.everything(engine.id)
        if self._looker is None or self._looker.engine_id != engine.id:
            self._looker = self._parts.looker(engine.id, self._policy(ids))
            self._early.serve(engine)
        self._parts.attacher.forwarding.recheck()
        for key in ids:
            self._ask(key, hint)
        log.info("looking at all", hint=hint, containers=len(ids), engine_version=engine.version)
        if not self._announced:
            self._announced = True
            log.info("ready")

    @property
    def _first_start(self) -> Path:
        return self._parts.settings.state_dir / "first-start.json"

    def _policy(self, ids: list[str]) -> Policy:
        """At the very first start on a host, what already runs is left alone, unless the settings want it."""
        settings = self._parts.settings
        path = self._first_start
        if not path.exists():
            running = [] if settings.attach_running else map(self._parts.client.container, ids)
            spared = {container.id: container.started_at for container in running if container and container.running}
            for container_id in spared:
                log.warning(
                    "left alone", id=container_id, reason="it ran before dockercni's first start: sync attaches it"
                )
            state.write(path, spared)
        return Policy(settings.attach, {} if settings.attach_running else state.read(path, dict[str, str], {}))


def report(seen: Seen) -> None:
    """Log what a look came to, one event for each thing done."""
    for outcome in seen.outcomes:
        fields = {"container": seen.name, "id": seen.id, **_fields(outcome)}
        if outcome.error:
            log.error(f"{outcome.verb} failed" if outcome.verb != "NOTE" else "not attached", **fields)
        elif outcome.drift:
            log.warning("drift", **fields)
        else:
            log.info(outcome.verb, **fields)


def _fields(outcome: Outcome) -> dict[str, object]:
    fields = {
        "network": outcome.network,
        "ifname": outcome.ifname,
        "addresses": list(outcome.addresses),
        "ms": outcome.ms,
        "reason": outcome.error or outcome.reason,
    }
    return {key: value for key, value in fields.items() if value}


def serve(settings: Settings) -> int:
    """`dockercni daemon`. Raises NotRoot, LockHeld when another daemon serves."""
    logs.configure(settings.log_level, settings.log_format)
    parts = wire(settings)
    with parts.attacher.locks.daemon():
        parts.attacher.cache.sweep()
        parts.networks.catalogue()  # says at once what is broken, or that the built-in network serves
        log.info("started", pid=os.getpid())
        return Daemon(parts).run()
