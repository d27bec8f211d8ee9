"""The early watch: wires what finds and holds starting containers, and says why it is off where it cannot work."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

import structlog

from dockercni.daemon.starts import StartTracker
from dockercni.docker import api
from dockercni.docker.client import Client, Engine
from dockercni.docker.data_root import Files, defaults
from dockercni.docker.start_watch import StartListener
from dockercni.files import read_regular
from dockercni.gate.client import GateClient
from dockercni.gate.messages import Serve, TryAgain
from dockercni.linux import capabilities
from dockercni.model import Container
from dockercni.reconcile import state
from dockercni.reconcile.labels import Holding
from dockercni.settings import Settings

_REMEMBERED: Final = "engine.json"
# Seconds that a thread waits for one that computes: a tenth of Python's usual time. A start whose run waits too long
# gets its network too late: with thirty times more work than the machine could do, some of 3,700 starts did. Priorities
# for the daemon did not help: in a burst of fifty starts a thread waits as long for the interpreter as for a processor
# (3.9 s and 4.4 s of 8). Beyond that the service manager decides (CPUWeight=).
_SWITCH: Final = 0.0005
_GATE_PATIENCE: Final = 10.0  # seconds that the daemon waits for the gate before it says that it is ready
_MAX_ID_FILE: Final = 4096  # bytes of the engine's file with its id

log = structlog.get_logger()


class EarlyWatch:
    """The early watch of one engine. `add` has a container reconciled before all others.

    `off` is called with "early watch" or "hold" and the reason when that cannot work, and with "" when it works again;
    `late` for each entrypoint that began without the network that it was to be held for. The watch serves from the
    first `serve` on, or from `start` on if an engine is remembered from an earlier run.
    """

    def __init__(
        self,
        settings: Settings,
        client: Client,
        add: Callable[[str, str], None],
        off: Callable[[str, str], None],
        late: Callable[[], None],
    ) -> None:
        self.tracker = StartTracker(Holding(settings.hold or 0.0, settings.on_failure), add, client.vet, late)
        self._settings = settings
        self._client = client
        self._off_changed = off
        self._files: Files | None = None
        self._may_hold = True
        self._unseen = ""
        self._unwatched = ""
        self._reported = ""
        on = self.tracker
        listener = StartListener(on.started, on.held, on.ended, on.missed)
        self._gate = GateClient(settings.run_dir, self._container, listener, self._watching)

    def remembered(self) -> Engine | None:
        """The engine of the last run, None if it was replaced: it starts containers before it answers."""
        facts = state.recall(self._path, dict[str, str], {})
        root = Path(facts.get("root") or self._settings.docker_root)
        try:  # from Docker 24 on
            engine_id = read_regular(root / "engine-id", _MAX_ID_FILE).decode("ascii").strip()
        except (OSError, ValueError):
            engine_id = facts.get("id", "")
        if not engine_id or engine_id != facts.get("id"):
            return None
        # the file may have changed since, and the engine with it; what a flag says is only remembered
        host_ip, mtu = defaults()
        host_ip, mtu = host_ip or facts.get("ip", ""), mtu or api.mtu(facts.get("mtu", ""))
        return Engine(engine_id, facts.get("version", ""), str(root), host_ip=host_ip, mtu=mtu)

    def start(self) -> None:
        """Start to watch, or report why that cannot work."""
        if not self._settings.docker_host.startswith("unix:"):
            self._off("early watch", f"the engine at {self._settings.docker_host} is another machine's")
            return
        if reason := capabilities.obstacle():
            self._may_hold = False
            self._off("hold", reason)
        if engine := self.remembered():
            self._use(engine)
        sys.setswitchinterval(_SWITCH)
        self._gate.start(self._orders(), _GATE_PATIENCE)

    def retry(self) -> None:
        """Try again now if watching does not work: the obstacle may be gone."""
        self._gate.say(TryAgain())

    def serve(self, engine: Engine) -> None:
        """Find the containers of this engine from now on."""
        self._use(engine)
        self._gate.say(self._orders())
        known = {"id": engine.id, "version": engine.version, "root": engine.root}
        state.keep(self._path, known | {"ip": engine.host_ip, "mtu": str(engine.mtu)})

    def reconfigure(self, settings: Settings) -> None:
        """Take over those settings that can change while the daemon runs."""
        self._settings = settings
        self.tracker.reconfigure(Holding(settings.hold or 0.0, settings.on_failure))
        self._gate.say(self._orders())

    def stop(self) -> None:
        """Disconnect from the gate. It holds on to what it holds, until the next daemon serves it or to its limit."""
        self._gate.close()

    @property
    def _path(self) -> Path:
        return self._settings.state_dir / _REMEMBERED

    def _orders(self) -> Serve:
        settings = self._settings
        return Serve(
            root=str(self._files.root) if self._files else "",
            engine=settings.docker_host.removeprefix("unix://"),
            state_dir=str(settings.state_dir),
            hold=settings.hold or 0.0,
            on_failure=settings.on_failure,
            attach=settings.attach,
            trust_image_labels=settings.trust_image_labels,
            may_hold=self._may_hold,
        )

    def _use(self, engine: Engine) -> None:
        root = Path(engine.root or self._settings.docker_root)
        if not (root / "containers").is_dir():
            self._files = None
            self._unseen = f"the engine's data root {root} cannot be seen from here"
        elif self._files is None or self._files.root != root:
            self._files = Files(root, self._settings.trust_image_labels, self._client.images)
            self._unseen = ""
        self._report()

    def _container(self, container_id: str) -> Container | None:
        files = self._files
        return files.container(container_id) if files else None

    def _watching(self, problem: str) -> None:
        self._unwatched = problem
        self._report()

    def _report(self) -> None:
        reason = self._unwatched or self._unseen
        if reason == self._reported:  # another try ended in the same way
            return
        self._reported = reason
        if reason:
            self._off("early watch", reason)
        else:
            log.info("early watch on")
            self._off_changed("early watch", "")

    def _off(self, what: str, reason: str) -> None:
        event = f"{what} off"
        log.warning(event, reason=reason)
        self._off_changed(what, reason)


def remembered_mark(state_dir: Path) -> str:
    """The mark of the engine that was served last; "" if there was none."""
    try:
        facts = state.read(state_dir / _REMEMBERED, dict[str, str], {})
    except state.StateError:
        return ""
    return Engine(facts["id"], "", facts.get("root", "")).mark if facts.get("id") else ""
