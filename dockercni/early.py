"""How is the early watch wired? What finds and holds starting containers, and why it is off where it cannot work."""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Final

import structlog

from dockercni import supervision
from dockercni.cni.files import read_regular
from dockercni.engine import describe
from dockercni.engine.client import Client, Engine
from dockercni.engine.files import Files, defaults
from dockercni.engine.proof import Proof
from dockercni.engine.starts import Listener, Starts
from dockercni.kernel import cgroups, hold, rights
from dockercni.model import Container
from dockercni.reconcile import state
from dockercni.reconcile.labels import Holding
from dockercni.reconcile.starting import Starting
from dockercni.settings import Settings

_REMEMBERED: Final = "engine.json"
_SWITCH: Final = 0.0005  # seconds that a thread waits for one that computes: ten times less than usual
_FIRST_PAUSE: Final = 1.0  # seconds until the cgroups are tried again, doubled from try to try
_LONGEST_PAUSE: Final = 60.0
_MOST: Final = 4096  # bytes of the engine's file with its id

log = structlog.get_logger()


class Early:
    """The early watch of one engine. `ask` has a container looked at, before others that wait.

    `off` is called with "early watch" or "hold" and the reason when that cannot work, without one when it can again;
    `late` for each entrypoint that begins without its network though it was to be held.
    It serves from the first `serve` on, or from `start` on if an engine is remembered from an earlier run.
    """

    def __init__(
        self,
        settings: Settings,
        client: Client,
        ask: Callable[[str, str], None],
        off: Callable[[str, str], None],
        late: Callable[[], None],
    ) -> None:
        holding = Holding(settings.hold or 0.0, settings.on_failure)
        self.starting = Starting(holding, settings.attach, ask, client.vet, late)
        self._settings = settings
        self._client = client
        self._tell_off = off
        self._holder = hold.Holder()
        self._files: Files | None = None
        self._watching = False
        self._said = ""
        self._again = threading.Event()

    def remembered(self) -> Engine | None:
        """The engine of the last run: when it starts, it starts containers before it answers."""
        facts = state.recall(self._path, dict[str, str], {})
        root = Path(facts.get("root") or self._settings.docker_root)
        try:  # from Docker 24 on
            engine_id = read_regular(root / "engine-id", _MOST).decode("ascii").strip()
        except (OSError, ValueError):
            engine_id = facts.get("id", "")
        if not engine_id or engine_id != facts.get("id"):
            return None
        # the file may have changed since, and the engine with it; what a flag says is only remembered
        host_ip, mtu = defaults()
        host_ip, mtu = host_ip or facts.get("ip", ""), mtu or describe.mtu(facts.get("mtu", ""))
        return Engine(engine_id, facts.get("version", ""), str(root), host_ip=host_ip, mtu=mtu)

    def start(self) -> None:
        """Start to watch, or say why that cannot be."""
        if not self._settings.docker_host.startswith("unix:"):
            self._off("early watch", f"the engine at {self._settings.docker_host} is another machine's")
            return
        if reason := rights.obstacle():
            self.starting.may_hold = False
            self._off("hold", reason)
        self._client.images.known("")  # read now: the thread that follows starts is not to wait for a disk
        if self.starting.may_hold and self._settings.hold:
            with contextlib.suppress(OSError):  # no process can be started now: the first hold tries again, and says so
                self._holder.start()
        sys.setswitchinterval(_SWITCH)
        if engine := self.remembered():
            self._use(engine)
        first = iter([self._begin()])
        supervision.start("starts", lambda: self._run(next(first, None) or self._begin()))

    def retry(self) -> None:
        """If it cannot watch, it is to try again now: what was in the way may be gone."""
        self._again.set()

    def serve(self, engine: Engine) -> None:
        """From now on that engine's containers are found."""
        self._use(engine)
        known = {"id": engine.id, "version": engine.version, "root": engine.root}
        state.keep(self._path, known | {"ip": engine.host_ip, "mtu": str(engine.mtu)})

    def reconfigure(self, settings: Settings) -> None:
        """From now on the settings say this of what can change while the daemon runs."""
        self.starting.reconfigure(Holding(settings.hold or 0.0, settings.on_failure), settings.attach)

    def stop(self) -> None:
        """Let everything go."""
        self._holder.close()

    @property
    def _path(self) -> Path:
        return self._settings.state_dir / _REMEMBERED

    def _use(self, engine: Engine) -> None:
        root = Path(engine.root or self._settings.docker_root)
        if not (root / "containers").is_dir():
            self._off("early watch", f"the engine's data root {root} cannot be seen from here")
            self._files = None
        elif self._files is None or self._files.root != root:
            self._files = Files(root, self._settings.trust_image_labels, self._client.images)
            if self._watching:
                self._said = ""
                self._tell_off("early watch", "")

    def _container(self, container_id: str) -> Container | None:
        files = self._files
        return files.container(container_id) if files else None

    def _begin(self) -> Starts | None:
        on = self.starting
        listener = Listener(on.wanted, on.started, on.held, on.ended, on.missed)
        proof = Proof(self._settings.docker_host.removeprefix("unix://"))
        try:
            watch = Starts(cgroups.hierarchy(), self._container, proof, self._holder, listener)
        except OSError as error:
            self._off("early watch", error.strerror or str(error))
            return None
        self._watching = True
        if self._said and self._files:
            log.info("early watch on")
            self._said = ""
            self._tell_off("early watch", "")
        return watch

    def _run(self, watch: Starts | None) -> None:
        pause = _FIRST_PAUSE
        while True:
            if watch:
                pause = _FIRST_PAUSE
                try:
                    watch.run()
                except OSError as error:
                    self._watching = False
                    self._off("early watch", f"the cgroups cannot be watched any more: {error.strerror}")
            self._again.wait(pause)
            self._again.clear()
            pause = min(2 * pause, _LONGEST_PAUSE)
            watch = self._begin()

    def _off(self, what: str, reason: str) -> None:
        if what == "early watch":
            if reason == self._said:  # another try came to the same
                return
            self._said = reason
        event = f"{what} off"
        log.warning(event, reason=reason)
        self._tell_off(what, reason)


def remembered_id(state_dir: Path) -> str:
    """The id of the engine that was served last; "" if there was none."""
    try:
        return state.read(state_dir / _REMEMBERED, dict[str, str], {}).get("id", "")
    except state.StateError:
        return ""
