"""The daemon: its threads, its signals, its settings. What they put into the work queue is in `jobs`."""

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
from dataclasses import dataclass, replace
from typing import Final

import structlog

from dockercni import logs, supervision
from dockercni.daemon import notify
from dockercni.daemon.freed import Freed
from dockercni.daemon.jobs import ALL, FORWARDING, LEASES, RULES, Jobs
from dockercni.docker.events import Watch
from dockercni.errors import DockercniError
from dockercni.linux import descriptors, processes
from dockercni.linux.events import RuleEvents
from dockercni.plugins import dispatch
from dockercni.reconcile.networks import Catalogue
from dockercni.settings import RENAME, TABLE, Settings, spelled
from dockercni.wiring import App, wire

DRAIN_SECONDS: Final = 20.0  # less than what service managers and `docker stop -t` commonly allow
_QUIET: Final = 0.2  # seconds without a change of rules: they come in bursts, our own among them
_TICK: Final = 5.0  # seconds between two checks that the DHCP daemon is still the same: leases last minutes
_PAUSE: Final = 1.0  # seconds at least from one round of tries to the next, however much becomes free
_UNSUPPORTED: Final = {errno.EPROTONOSUPPORT, errno.EPERM, errno.EACCES}  # nftables events will not work later either

log = structlog.get_logger()


class Daemon:
    """Watches engine and host, and keeps every container reconciled, until a signal ends it."""

    def __init__(self, app: App, reload: Callable[[], Settings]) -> None:
        self._jobs = Jobs(app)
        self._queue = self._jobs.queue
        self._reload = reload
        self._stop = threading.Event()
        self._wakeup = -1

    def run(self) -> int:
        """Serve until SIGTERM or SIGINT; SIGHUP reads the settings and reconciles all. Returns the exit code."""
        jobs, heart = self._jobs, self._jobs.heart
        supervision.install()
        faulthandler.enable()  # on SIGABRT by the service manager's watchdog: the stacks of all threads
        # A signal may reach any thread and does not wake one that waits for a lock, so each is written to a pipe.
        self._wakeup, written = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(written)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, lambda *_: None)
        supervision.start("rules", self._watch_rules)
        supervision.start("links", jobs.host_watch.run)
        watch = Watch(
            jobs.app.client,
            connected=self._connected,
            changed=jobs.event,
            stop=self._stop,
            lost=heart.lost,
            networks=lambda: self._queue.add(FORWARDING, "Docker's networks changed"),
        )
        jobs.use_remembered_engine()
        jobs.early.start()
        heart.start()
        supervision.start("watch", watch.run)
        supervision.start("freed", self._watch_what_is_free)
        notify.send("READY=1")
        while (received := self._next_signals()) <= {int(signal.SIGHUP)}:
            if received:
                notify.send(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")
                self._reload_settings()
                notify.send("READY=1")
            else:
                watch.replace_if_silent()
            self._queue.add(ALL, "SIGHUP" if received else "resync interval")
        self._stop.set()
        notify.send("STOPPING=1")
        unfinished = self._queue.drain(DRAIN_SECONDS)
        if unfinished:
            log.warning("stopped with unfinished work", unfinished=unfinished)
        jobs.early.stop()
        heart.close()
        log.info("stopped", reason="signal")
        return 0

    def _watch_rules(self) -> None:
        try:
            events = RuleEvents()
        except OSError as error:
            if error.errno not in _UNSUPPORTED:
                raise
            log.warning("wiped rules are noticed late", reason=f"no nftables events: {error.strerror}")
            return
        with events:
            if self._jobs.ready:  # this thread was down meanwhile
                self._queue.add(RULES, "firewall rules may have been deleted")
            while events.wait(None):
                while events.wait(_QUIET):
                    pass
                self._queue.add(RULES, "firewall rules were changed")

    def _watch_what_is_free(self) -> None:
        settings = self._jobs.app.settings
        places = (settings.cni_conf_dir, settings.cni_cache_dir, settings.cni_bin_dir)
        Freed(self._catalogue, *places).run(
            self._retry_failing,
            self._jobs.reporter.failing_adds,
            lambda each: self._jobs.add(each, "its lease is gone"),
        )

    def _catalogue(self) -> Catalogue:
        """The networks by the settings as they are now."""
        return self._jobs.app.networks.catalogue()

    def _retry_failing(self, reason: str) -> None:
        for key in self._jobs.reporter.what_fails():
            self._queue.add(key, reason)
        self._stop.wait(_PAUSE)

    def _next_signals(self) -> set[int]:
        """Wait for signals; none when the resync interval is over."""
        poll = select.poll()
        poll.register(self._wakeup, select.POLLIN)
        seconds = self._jobs.app.settings.resync_interval
        end = math.inf if seconds is None else time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            if poll.poll(min(left, _TICK) * 1000):
                return set(os.read(self._wakeup, 4096))
            if self._jobs.app.attacher.leases.changed():
                self._queue.add(LEASES, "the DHCP daemon ended or was restarted")
        return set()

    def _connected(self) -> None:
        self._jobs.heart.connected()
        self._jobs.early.tracker.confirm()
        self._queue.add(ALL, "connected to the engine")

    def _reload_settings(self) -> None:
        """Read the settings again, and go on with what can change; runs under way end with the old ones."""
        try:
            loaded = self._reload()
        except DockercniError as error:
            log.error("settings not reloaded", reason=str(error))
            return
        _report_old_names(loaded)
        taken = reloaded(self._jobs.app.settings, loaded)
        for change in taken.refused:
            reason = "it cannot change while the daemon runs: restart it"
            log.warning("setting kept", key=change.key, value=change.before, wanted=change.after, reason=reason)
        for change in taken.applied:
            log.info("setting changed", key=change.key, value=change.after, before=change.before)
        if taken.applied:
            logs.configure(taken.settings.log_level, taken.settings.log_format)
            self._jobs.use(wire(taken.settings))


@dataclass(frozen=True, slots=True)
class SettingChange:
    """A setting whose value changed, in the spelling of the file."""

    key: str
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class Reloaded:
    """The settings to go on with, what changed in them, and what needs a restart to change."""

    settings: Settings
    applied: tuple[SettingChange, ...]
    refused: tuple[SettingChange, ...]


def reloaded(running: Settings, loaded: Settings) -> Reloaded:
    """Take from `loaded` what can change in a running daemon."""
    applied, refused = [], []
    kept = {}
    for row in TABLE:
        before, after = getattr(running, row.attribute), getattr(loaded, row.attribute)
        if before == after:
            continue
        change = SettingChange(row.key, spelled(before), spelled(after))
        if row.fixed:
            kept[row.attribute] = before
            refused.append(change)
        else:
            applied.append(change)
    return Reloaded(replace(loaded, **kept), tuple(applied), tuple(refused))


def _report_old_names(settings: Settings) -> None:
    for one in settings.renamed:
        log.warning("old name of a setting", reason=f"{one}; {RENAME}")


def serve(settings: Settings, reload: Callable[[], Settings]) -> int:
    """`dockercni daemon`; `reload` reads the settings again. Raises NotRoot, LockHeld when another daemon serves."""
    logs.configure(settings.log_level, settings.log_format)
    _report_old_names(settings)
    app = wire(settings)
    with app.attacher.locks.daemon():
        app.attacher.cache.sweep()
        app.networks.catalogue()  # logs at once what is broken, or that the built-in network serves
        processes.few_arenas()
        descriptors.raise_limit()
        dispatch.preload()  # so that the first container does not wait for imports
        log.info("started", pid=os.getpid())
        return Daemon(app, reload).run()
