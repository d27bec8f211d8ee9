"""How is the early watch wired? What finds and holds starting containers, and why it is off where it cannot work."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import structlog

from dockercni.cni.files import read_regular
from dockercni.engine.client import Client, Engine
from dockercni.engine.files import Files
from dockercni.engine.starts import Listener, Starts
from dockercni.kernel import cgroups, hold
from dockercni.model import Container
from dockercni.reconcile import state
from dockercni.reconcile.labels import Holding
from dockercni.reconcile.starting import Starting
from dockercni.settings import Settings

_REMEMBERED: Final = "engine.json"
_SWITCH: Final = 0.0005  # seconds that a thread waits for one that computes: ten times less than usual
_MOST: Final = 4096  # bytes of the engine's file with its id

log = structlog.get_logger()


class Early:
    """The early watch of one engine. `ask` has a container looked at, before others that wait.

    `off` is called with "early watch" or "hold" and the reason when that cannot work, without one when it can again.
    It serves from the first `serve` on, or from `start` on if an engine is remembered from an earlier run.
    """

    def __init__(
        self, settings: Settings, client: Client, ask: Callable[[str, str], None], off: Callable[[str, str], None]
    ) -> None:
        self.starting = Starting(Holding(settings.hold or 0.0, settings.on_failure), settings.attach, ask)
        self._settings = settings
        self._client = client
        self._tell_off = off
        self._holder = hold.Holder()
        self._files: Files | None = None
        self._watching = False

    def remembered(self) -> Engine | None:
        """The engine of the last run: when it starts, it starts containers before it answers."""
        try:
            facts = state.read(self._path, dict[str, str], {})
        except state.Damaged as error:
            log.warning("forgotten", reason=str(error))
            return None
        root = Path(facts.get("root") or self._settings.docker_root)
        try:  # from Docker 24 on
            engine_id = read_regular(root / "engine-id", _MOST).decode("ascii").strip()
        except (OSError, ValueError):
            engine_id = facts.get("id", "")
        if not engine_id or engine_id != facts.get("id"):
            return None
        return Engine(engine_id, facts.get("version", ""), str(root))

    def start(self) -> None:
        """Start to watch, or say why that cannot be."""
        if not self._settings.docker_host.startswith("unix:"):
            self._off("early watch", f"the engine at {self._settings.docker_host} is another machine's")
            return
        if reason := hold.obstacle():
            self.starting.may_hold = False
            self._off("hold", reason)
        listener = Listener(self.starting.wanted, self.starting.started, self.starting.held, self.starting.ended)
        try:
            watch = Starts(cgroups.hierarchy(), self._container, self._holder, listener)
            if self.starting.may_hold and self._settings.hold:
                self._holder.start()
        except OSError as error:
            self._off("early watch", error.strerror or str(error))
            return
        self._watching = True
        sys.setswitchinterval(_SWITCH)
        if engine := self.remembered():
            self._use(engine)
        threading.Thread(target=self._run, args=(watch,), name="starts", daemon=True).start()

    def serve(self, engine: Engine) -> None:
        """From now on that engine's containers are found."""
        self._use(engine)
        state.write(self._path, {"id": engine.id, "version": engine.version, "root": engine.root})

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
            self._files = Files(root, self._settings.trust_image_labels, self._image_labels)
            if self._watching:
                self._tell_off("early watch", "")

    def _image_labels(self, image: str) -> Mapping[str, str]:
        return self._client.image_labels(image)

    def _container(self, container_id: str) -> Container | None:
        files = self._files
        return files.container(container_id) if files else None

    def _run(self, watch: Starts) -> None:
        try:
            watch.run()
        except OSError as error:
            self._watching = False
            self._off("early watch", f"the cgroups cannot be watched any more: {error.strerror}")

    def _off(self, what: str, reason: str) -> None:
        event = f"{what} off"
        log.warning(event, reason=reason)
        self._tell_off(what, reason)


def remembered_id(state_dir: Path) -> str:
    """The id of the engine that was served last; "" if there was none."""
    try:
        return state.read(state_dir / _REMEMBERED, dict[str, str], {}).get("id", "")
    except state.StateError:
        return ""
