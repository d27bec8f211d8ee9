"""What the work queue runs: reconciling one container, and the jobs that find out which containers need it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import structlog

from dockercni.cni import CacheEntry
from dockercni.daemon.early_watch import EarlyWatch
from dockercni.daemon.heartbeat import Heartbeat
from dockercni.daemon.host_watch import HostWatch
from dockercni.daemon.port_holds import PortHolds
from dockercni.daemon.report import Reporter
from dockercni.daemon.work_queue import WorkQueue
from dockercni.docker.client import ACTIONS
from dockercni.errors import DockercniError, Retry
from dockercni.linux.iptables import IptablesError
from dockercni.reconcile import orphans, state
from dockercni.reconcile.dhcp_leases import kept
from dockercni.reconcile.failure import retry_of
from dockercni.reconcile.reconciler import AttachPolicy, Reconciler
from dockercni.wiring import FIRST_START, App, policy

# The keys of jobs that concern no single container; no container id looks like them.
ALL: Final = "*"
RULES: Final = "*rules"
HOST: Final = "*host"
LEASES: Final = "*leases"
ORPHANS: Final = "*orphans"
FORWARDING: Final = "*forwarding"
_FEW: Final = 16  # containers: up to here their records are read one by one, beyond it by one listing of all

log = structlog.get_logger()


class Jobs:
    """Runs the jobs of the work queue; `run` is called for one key by one thread at a time.

    A job for several containers only puts those into the queue that need to be reconciled.
    """

    def __init__(self, app: App) -> None:
        self.app = app
        self.reconciler: Reconciler | None = None  # None until all containers are reconciled by the present settings
        self.ready = False
        self.reporter = Reporter()
        self.queue = WorkQueue(self.run, app.settings.workers, self._ended)
        self.heart = Heartbeat(app.settings.run_dir, self.queue.busy, lambda: self.reporter.failing(self.queue.due()))
        self.early = EarlyWatch(app.settings, app.client, self.add_urgent, self.heart.off, self.heart.late)
        self.host_watch = HostWatch(lambda: self.queue.add(HOST, "links of the host changed"))
        self._port_holds = PortHolds()
        self._thorough: set[str] = set()
        self._jobs: dict[str, Callable[[str], None]] = {
            ALL: self._reconcile_all,
            RULES: self._find_by_rules,
            HOST: self._find_by_host,
            LEASES: self._find_by_leases,
            ORPHANS: self._collect_orphans,
            FORWARDING: self._settle_forwarding,
        }

    def event(self, container_id: str, action: str) -> None:
        """The engine reports that something happened to a container."""
        if action == "start":
            self.early.tracker.confirm(container_id)
        else:
            self.early.tracker.doubt(container_id)
        self.early.tracker.touch(container_id)
        self.queue.add(container_id, action)

    def add(self, container_id: str, reason: str) -> None:
        """Have a container reconciled thoroughly, also if an event adds it before that with less to do."""
        self._thorough.add(container_id)
        self.early.tracker.touch(container_id)
        self.queue.add(container_id, reason)

    def add_urgent(self, container_id: str, reason: str) -> None:
        """Have a container reconciled before all others."""
        self.queue.add(container_id, reason, urgent=True)

    def run(self, key: str, reason: str) -> Retry:
        """Run one job; returns when it should run again."""
        try:
            if job := self._jobs.get(key):
                job(reason)
                self.reporter.fine(key)
                return Retry.NEVER
            reconciler = self.reconciler  # a reload may take it away at any moment
            if reconciler is None:  # the job for all comes first, and adds this container again
                return Retry.NEVER
            thorough = key in self._thorough or reason not in ACTIONS
            self._thorough.discard(key)
            outcome = self.early.tracker.reconcile(reconciler, key, thorough=thorough)
        except (DockercniError, IptablesError) as error:
            self.reporter.failed(key, str(error), reason)
            return retry_of(error)
        except Exception as error:  # noqa: BLE001  a defect of ours: logged, and the queue goes on
            self.reporter.failed(key, f"{type(error).__name__}: {error}", reason, defect=error)
            return Retry.LATER
        retry = Retry.LATER if self.early.tracker.unconfirmed(key) else Retry.NEVER
        if outcome is None:
            return retry
        self.reporter.reconciled(outcome)
        if self.app.attacher.forwarding.unsettled:
            self.queue.add(FORWARDING, "the rules could not be changed")
        entries = list(self.app.attacher.cache.entries(key))
        self._port_holds.update(key, entries)
        self.host_watch.learn(key, entries)
        return max(retry, outcome.retry)

    def use_remembered_engine(self) -> None:
        """Reconcile from now on if the engine of the last run is known: it starts containers before it answers."""
        if (engine := self.early.remembered()) and (self.app.settings.state_dir / FIRST_START).exists():
            self.reconciler = self.app.reconciler(engine, self._policy([]))

    def use(self, app: App) -> None:
        """Go on with other settings; the job for all, which comes next, makes a new reconciler."""
        self.app = app
        self.early.reconfigure(app.settings)
        self.reconciler = None

    def _ended(self) -> None:
        self.heart.progress()

    def _reconcile_all(self, reason: str) -> None:
        engine = self.app.client.engine()
        ids = self.app.container_ids(engine.mark)
        known = self.reconciler and (self.reconciler.engine_id, self.reconciler.host_ip, self.app.networks.mtu)
        if self.reconciler is None or known != (engine.mark, engine.host_ip, engine.mtu):
            self.reconciler = self.app.reconciler(engine, self._policy(ids))
            self.early.serve(engine)
        self.early.retry()
        self.app.attacher.forwarding.invalidate()
        self.queue.add(FORWARDING, reason)
        self._entries()
        for key in ids:
            self.add(key, reason)
        self.queue.add(ORPHANS, reason)
        self.heart.reconciling_all()
        log.info("reconciling all", reason=reason, containers=len(ids), engine_version=engine.version)
        if not self.ready:
            self.ready = True
            log.info("ready")

    def _find_by_host(self, reason: str) -> None:
        """Add the containers whose host half is damaged, of those that need a link that changed."""
        attacher, ids = self.app.attacher, self.host_watch.concerned(self._entries)
        chosen = ids if len(ids) <= _FEW else [""]
        found = (entry for key in chosen for entry in attacher.cache.entries(key))
        entries = [entry for entry in found if entry.container_id in ids]
        for key in attacher.host.lacking([entry for entry in entries if entry.complete and entry.owner]):
            self.add(key, reason)

    def _find_by_leases(self, reason: str) -> None:
        """Add the containers that have a DHCP lease."""
        for key in {entry.container_id for entry in self._entries() if entry.complete and kept(entry)}:
            self.add(key, reason)

    def _find_by_rules(self, reason: str) -> None:
        """Open FORWARD again, and add the containers whose other rules are gone."""
        self._settle_forwarding(reason)
        rules = self.app.attacher.rules
        rules.invalidate()
        for key in rules.lacking(entry for entry in self._entries() if entry.complete and entry.owner):
            self.add(key, reason)

    def _settle_forwarding(self, _reason: str) -> None:
        """Let through FORWARD what is recorded, and nothing else, whatever Docker and others did to the rules."""
        self.app.settle_forwarding()

    def _collect_orphans(self, _reason: str) -> None:
        """Remove what no record explains and dockercni created; `sync` and `status` name the rest."""
        for orphan, ours, problem in orphans.collect(self.app.attacher, dry_run=False):
            if problem:
                log.error("GC failed", id=orphan.container_id, orphan=orphan.what, reason=problem)
            elif ours:
                log.info("GC", id=orphan.container_id, orphan=orphan.what, reason="no record explains it")

    def _entries(self) -> list[CacheEntry]:
        """All records. Ports that none of them has are released: a command may have removed attachments meanwhile."""
        found = list(self.app.attacher.cache.entries())
        by_container: dict[str, list[CacheEntry]] = {}
        for entry in found:
            by_container.setdefault(entry.container_id, []).append(entry)
        self._port_holds.follow(by_container)
        return found

    def _policy(self, ids: list[str]) -> AttachPolicy:
        """At the very first start on a host, running containers stay as they are, unless the settings say otherwise."""
        settings = self.app.settings
        path = settings.state_dir / FIRST_START
        if not path.exists():
            running = [] if settings.attach_running else map(self.app.client.container, ids)
            spared = {container.id: container.started_at for container in running if container and container.running}
            for container_id in spared:
                log.warning(
                    "left alone", id=container_id, reason="it ran before dockercni's first start: sync attaches it"
                )
            if not state.keep(path, spared):
                return AttachPolicy(settings.attach, spared)
        return policy(settings)
