"""What runs all the time: the daemon, which watches the engine and keeps every container looked at."""

from __future__ import annotations

import errno
import faulthandler
import math
import os
import select
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import structlog

from dockercni import logs, supervision
from dockercni.cni import CacheEntry
from dockercni.daemon import notify
from dockercni.daemon.early import Early
from dockercni.daemon.freed import Freed
from dockercni.daemon.heartbeat import Heartbeat
from dockercni.daemon.host_watch import HostWatch
from dockercni.daemon.port_holds import PortHolds
from dockercni.daemon.reload import reloaded
from dockercni.daemon.report import Reporter
from dockercni.daemon.work_queue import WorkQueue
from dockercni.docker.client import ACTIONS
from dockercni.docker.events import Watch
from dockercni.errors import DockercniError, Retry
from dockercni.linux import descriptors, processes
from dockercni.linux.events import RuleEvents
from dockercni.linux.iptables import IptablesError
from dockercni.plugins import dispatch
from dockercni.reconcile import orphans, state
from dockercni.reconcile.failure import retry_of
from dockercni.reconcile.leases import kept
from dockercni.reconcile.networks import Catalogue
from dockercni.reconcile.reconciler import AttachPolicy, Reconciler
from dockercni.settings import Settings
from dockercni.wiring import FIRST_START, App, policy, wire

DRAIN_SECONDS: Final = 20.0  # less than what service managers and `docker stop -t` commonly allow
_ALL: Final = "*"  # lanes of their own, for what is no look at one container; no container id looks like them
_RULES: Final = "*rules"
_HOST: Final = "*host"
_LEASES: Final = "*leases"
_STRAYS: Final = "*strays"
_FORWARDING: Final = "*forwarding"
_PATIENCE: Final = 0.8  # of the hold: what waits for a DHCP server in vain is to be told, and undone, before it ends
_LEAST_PATIENCE: Final = 5.0  # seconds: a server that looks for duplicates first (dnsmasq) takes 3
_QUIET: Final = 0.2  # seconds without a deleted rule
_TICK: Final = 5.0  # seconds between two looks whether the DHCP daemon is still the same: leases last minutes
_PAUSE: Final = 1.0  # seconds at least from one round of tries to the next, however much becomes free
_NEVER: Final = {errno.EPROTONOSUPPORT, errno.EPERM, errno.EACCES}  # what asking again does not change
_FEW: Final = 16  # containers

log = structlog.get_logger()


class Daemon:
    """Watches the engine and keeps every container looked at, until told to stop."""

    def __init__(self, app: App, reload: Callable[[], Settings]) -> None:
        self._app = app
        self._reload = reload
        self._reconciler: Reconciler | None = None
        self._announced = False
        self._queue = WorkQueue(self._look, app.settings.workers, self._ended)
        self._reporter = Reporter()
        self._heart = Heartbeat(
            app.settings.run_dir, self._queue.busy, lambda: self._reporter.failing(self._queue.due())
        )
        self._early = Early(app.settings, app.client, self._ask_urgently, self._heart.off, self._heart.late)
        self._reservations = PortHolds()
        self._thoroughly: set[str] = set()
        self._stop = threading.Event()
        self._wake = -1
        self._works = {
            _ALL: self._look_at_all,
            _RULES: self._look_at_rules,
            _HOST: self._look_at_host,
            _LEASES: self._look_at_leases,
            _STRAYS: self._collect_strays,
            _FORWARDING: self._look_at_forwarding,
        }
        self._host_watch = HostWatch(lambda: self._queue.add(_HOST, "links of the host changed"))

    def run(self) -> int:
        """Serve until SIGTERM or SIGINT; SIGHUP reads the settings and looks at everything. Returns the exit code."""
        supervision.install()
        faulthandler.enable()  # says where every thread was when the service manager's watchdog ends us
        # A signal may reach any thread, and does not wake one that waits for a lock: what is written to a pipe does.
        self._wake, wakeup = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(wakeup)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, lambda *_: None)
        supervision.start("rules", self._watch_rules)
        supervision.start("links", self._host_watch.run)
        watch = Watch(
            self._app.client,
            connected=self._connected,
            changed=self._event,
            stop=self._stop,
            lost=self._heart.lost,
            networks=lambda: self._queue.add(_FORWARDING, "Docker's networks changed"),
        )
        if (engine := self._early.remembered()) and self._first_start.exists():
            self._reconciler = self._app.reconciler(engine, self._policy([]))
        self._early.start()
        self._heart.start()
        supervision.start("watch", watch.run)
        supervision.start("freed", self._watch_what_is_free)
        notify.send("READY=1")
        while (received := self._next_signals()) <= {int(signal.SIGHUP)}:
            if received:
                notify.send(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")
                self._take_over_settings()
                notify.send("READY=1")
            else:
                watch.replace_if_silent()
            self._queue.add(_ALL, "SIGHUP" if received else "resync interval")
        self._stop.set()
        notify.send("STOPPING=1")
        unfinished = self._queue.drain(DRAIN_SECONDS)
        if unfinished:
            log.warning("stopped with unfinished work", unfinished=unfinished)
        self._early.stop()
        self._heart.close()
        log.info("stopped", reason="signal")
        return 0

    def _watch_rules(self) -> None:
        try:
            events = RuleEvents()
        except OSError as error:
            if error.errno not in _NEVER:
                raise
            log.warning("wiped rules are noticed late", reason=f"no nftables events: {error.strerror}")
            return
        with events:
            if self._announced:  # it was down meanwhile
                self._queue.add(_RULES, "firewall rules may have been deleted")
            while events.wait(None):
                while events.wait(_QUIET):  # deletions come in bursts, our own among them
                    pass
                self._queue.add(_RULES, "firewall rules were changed")

    def _watch_what_is_free(self) -> None:
        settings = self._app.settings
        places = (settings.cni_conf_dir, settings.cni_cache_dir, settings.cni_bin_dir)
        Freed(self._catalogue, *places).run(
            self._try_what_fails, self._reporter.failing_adds, lambda each: self._ask(each, "its lease went")
        )

    def _catalogue(self) -> Catalogue:
        """Of the networks by the settings as they are now."""
        return self._app.networks.catalogue()

    def _try_what_fails(self, reason: str) -> None:
        for key in self._reporter.what_fails():
            self._queue.add(key, reason)
        self._stop.wait(_PAUSE)

    def _look_at_host(self, reason: str) -> None:
        """Have those containers looked at whose half of the host is not whole, of those that need what changed."""
        attacher, ids = self._app.attacher, self._host_watch.concerned(self._entries)
        # a few are read by themselves: a list of all is read for a bridge, and not for each port that goes
        chosen = ids if len(ids) <= _FEW else [""]
        found = (entry for key in chosen for entry in attacher.cache.entries(key))
        entries = [entry for entry in found if entry.container_id in ids]
        for key in attacher.host.lacking([entry for entry in entries if entry.complete and entry.owner]):
            self._ask(key, reason)

    def _look_at_leases(self, reason: str) -> None:
        """Have those containers looked at whose leases a DHCP daemon keeps, or kept."""
        for key in {entry.container_id for entry in self._entries() if entry.complete and kept(entry)}:
            self._ask(key, reason)

    def _look_at_rules(self, reason: str) -> None:
        """Let traffic through as before, and have those containers looked at whose other rules are gone."""
        self._look_at_forwarding(reason)
        attacher = self._app.attacher
        attacher.rules.invalidate()
        for key in attacher.rules.lacking(entry for entry in self._entries() if entry.complete and entry.owner):
            self._ask(key, reason)

    def _look_at_forwarding(self, _reason: str) -> None:
        """Let through what is recorded, and nothing else, whatever Docker and others did to the rules."""
        self._app.settle_forwarding()

    def _collect_strays(self, _reason: str) -> None:
        """Remove what has no owner and is provably ours; `sync` and `status` name the rest."""
        for orphan, ours, problem in orphans.collect(self._app.attacher, dry_run=False):
            if problem:
                log.error("GC failed", id=orphan.container_id, orphan=orphan.what, reason=problem)
            elif ours:
                log.info("GC", id=orphan.container_id, orphan=orphan.what, reason="no record explains it")

    def _next_signals(self) -> set[int]:
        """Wait for signals; none when it is time to look at everything."""
        poll = select.poll()
        poll.register(self._wake, select.POLLIN)
        seconds = self._app.settings.resync_interval
        end = math.inf if seconds is None else time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            if poll.poll(min(left, _TICK) * 1000):
                return set(os.read(self._wake, 4096))
            if self._app.attacher.leases.changed():
                self._queue.add(_LEASES, "the DHCP daemon is another one, or gone")
        return set()

    def _connected(self) -> None:
        self._heart.connected()
        self._early.tracker.confirm()
        self._queue.add(_ALL, "connected to the engine")

    def _take_over_settings(self) -> None:
        """Read the settings again, and go on with what can change; what is under way ends with the old ones."""
        try:
            taken = reloaded(self._app.settings, self._reload())
        except DockercniError as error:
            log.error("settings not reloaded", reason=str(error))
            return
        for change in taken.refused:
            reason = "it cannot change while the daemon runs: restart it"
            log.warning("setting kept", key=change.key, value=change.before, wanted=change.after, reason=reason)
        for change in taken.applied:
            log.info("setting changed", key=change.key, value=change.after, before=change.before)
        if taken.applied:
            logs.configure(taken.settings.log_level, taken.settings.log_format)
            self._app = wire(taken.settings)
            self._early.reconfigure(taken.settings)
            self._reconciler = None  # the look at all, which comes next, makes a new one

    def _event(self, container_id: str, action: str) -> None:
        if action == "start":
            self._early.tracker.confirm(container_id)
        else:
            self._early.tracker.doubt(container_id)
        self._early.tracker.touch(container_id)
        self._queue.add(container_id, action)

    def _ask(self, container_id: str, reason: str) -> None:
        self._thoroughly.add(container_id)  # an event that comes before the look must not make less of it
        self._early.tracker.touch(container_id)
        self._queue.add(container_id, reason)

    def _ask_urgently(self, container_id: str, reason: str) -> None:
        self._queue.add(container_id, reason, urgent=True)

    def _look(self, key: str, reason: str) -> Retry:
        """The lanes' work: when to look at `key` again."""
        try:
            if work := self._works.get(key):
                work(reason)
                self._reporter.fine(key)
                return Retry.NEVER
            if self._reconciler is None:  # an event before the first list: that look will come
                return Retry.NEVER
            thorough = key in self._thoroughly or reason not in ACTIONS
            self._thoroughly.discard(key)
            seen = self._early.tracker.reconcile(self._reconciler, key, thorough=thorough)
        except (DockercniError, IptablesError) as error:
            self._reporter.failed(key, str(error), reason)
            return retry_of(error)
        except Exception as error:  # noqa: BLE001  a defect of ours, logged there, must not end the lane
            self._reporter.failed(key, f"{type(error).__name__}: {error}", reason, defect=error)
            return Retry.LATER
        settled = Retry.LATER if self._early.tracker.unconfirmed(key) else Retry.NEVER
        if seen is None:
            return settled
        self._reporter.looked(seen)
        self._reserve(key)
        return max(settled, seen.retry)

    def _ended(self) -> None:
        self._heart.looked()

    def _reserve(self, key: str) -> None:
        entries = list(self._app.attacher.cache.entries(key))
        self._reservations.update(key, entries)
        self._host_watch.learn(key, entries)

    def _entries(self) -> list[CacheEntry]:
        """All records; ports that they no longer mention are let go: a command may have taken them back beside us."""
        found = list(self._app.attacher.cache.entries())
        by_container: dict[str, list[CacheEntry]] = {}
        for entry in found:
            by_container.setdefault(entry.container_id, []).append(entry)
        self._reservations.follow(by_container)
        return found

    def _look_at_all(self, reason: str) -> None:
        engine = self._app.client.engine()
        ids = self._app.container_ids(engine.mark)
        known = self._reconciler and (self._reconciler.engine_id, self._reconciler.host_ip, self._app.networks.mtu)
        if self._reconciler is None or known != (engine.mark, engine.host_ip, engine.mtu):
            self._reconciler = self._app.reconciler(engine, self._policy(ids))
            self._early.serve(engine)
        self._early.retry()
        self._app.attacher.forwarding.recheck()
        self._queue.add(_FORWARDING, reason)
        self._entries()
        for key in ids:
            self._ask(key, reason)
        self._queue.add(_STRAYS, reason)
        self._heart.looked_at_all()
        log.info("reconciling all", reason=reason, containers=len(ids), engine_version=engine.version)
        if not self._announced:
            self._announced = True
            log.info("ready")

    @property
    def _first_start(self) -> Path:
        return self._app.settings.state_dir / FIRST_START

    def _policy(self, ids: list[str]) -> AttachPolicy:
        """At the very first start on a host, what already runs is left alone, unless the settings want it."""
        settings = self._app.settings
        path = self._first_start
        if not path.exists():
            running = [] if settings.attach_running else map(self._app.client.container, ids)
            spared = {container.id: container.started_at for container in running if container and container.running}
            for container_id in spared:
                log.warning(
                    "left alone", id=container_id, reason="it ran before dockercni's first start: sync attaches it"
                )
            if not state.keep(path, spared):
                return AttachPolicy(settings.attach, spared)
        return policy(settings)


def serve(settings: Settings, reload: Callable[[], Settings]) -> int:
    """`dockercni daemon`; `reload` reads the settings again. Raises NotRoot, LockHeld when another daemon serves."""
    logs.configure(settings.log_level, settings.log_format)
    app = wire(settings)
    with app.attacher.locks.daemon():
        app.attacher.cache.sweep()
        app.networks.catalogue()  # says at once what is broken, or that the built-in network serves
        processes.few_arenas()
        descriptors.raise_limit()
        dispatch.preload()  # the first container is not to wait for imports
        log.info("started", pid=os.getpid())
        return Daemon(app, reload).run()
