"""The Docker Engine API, as far as we need it. The only importer of the docker SDK.

Every call is a GET: the socket may well sit behind a proxy that allows nothing else.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Final, TypeVar

import docker
import docker.errors
import msgspec
import requests

from dockercni.engine.describe import Inspected, Listed, described, without_image_labels
from dockercni.errors import EngineRefused, EngineUnavailable
from dockercni.model import Container

T = TypeVar("T")
ACTIONS: Final = ("start", "die", "destroy")
_SECONDS: Final = 20  # a container that is starting answers inspect only when it has started
_IMAGES_KEPT: Final = 1024


@dataclass(frozen=True, slots=True)
class Engine:
    """Who answers. `root` is its data root."""

    id: str
    version: str
    root: str


@dataclass(frozen=True, slots=True)
class Event:
    """Something happened to a container. `moment` is "seconds.nanoseconds", as `since` wants it back."""

    container_id: str
    action: str
    moment: str


class Subscription:
    """The events of one connection, in order; iterating ends when the connection does."""

    def __init__(self, stream: Any, errors: Callable[[], AbstractContextManager[None]]) -> None:
        self._stream = stream
        self._errors = errors
        self.replaced = False

    def __iter__(self) -> Iterator[Event]:
        with self._errors():
            for event in self._stream:
                nanoseconds = int(event["timeNano"])
                moment = f"{nanoseconds // 10**9}.{nanoseconds % 10**9:09d}"
                yield Event(event["Actor"]["ID"], event["Action"], moment)

    def replace(self) -> None:
        """End it, from whichever thread: whoever reads it subscribes anew."""
        self.replaced = True
        self._stream.close()


class Client:
    """Talks to the engine at `host` ("unix:///run/docker.sock"). Thread-safe; connects when first used.

    Every method raises EngineUnavailable while nothing answers; `engine` also EngineRefused, for what cannot be served.
    """

    def __init__(self, host: str, *, trust_image_labels: bool = False) -> None:
        self._host = host
        self._trust_image_labels = trust_image_labels
        self._api: docker.APIClient | None = None
        self._guard = threading.Lock()
        self._image_labels = lru_cache(_IMAGES_KEPT)(self._ask_image_labels)

    def engine(self) -> Engine:
        """Ask who answers; a rootless engine is refused."""
        with self._errors():
            info = self._connected().info()
        if any("rootless" in option for option in info.get("SecurityOptions") or ()):
            raise EngineRefused(
                f"the engine at {self._host} is rootless: its namespaces cannot be entered from outside"
            )
        if not info.get("ID"):
            raise EngineRefused(f"what answers at {self._host} does not say its ID, so it is no Docker Engine")
        return Engine(info["ID"], info.get("ServerVersion", ""), info.get("DockerRootDir", ""))

    def container(self, name: str) -> Container | None:
        """The container of that id or name; None where the engine knows none."""
        try:
            with self._errors():
                answer = self._connected().inspect_container(name)
        except docker.errors.NotFound:
            return None
        inspected = self._understood(answer, Inspected)
        container = described(inspected)
        if self._trust_image_labels or not container.labels:
            return container
        image = self._image_labels(inspected.Image)
        return replace(container, labels=without_image_labels(container.labels, image))

    def running(self) -> list[Listed]:
        """The containers that run now, by the list call, which never waits for one that is starting."""
        with self._errors():
            listed = self._connected().containers()
        return self._understood(listed, list[Listed])

    def _understood(self, answer: object, kind: type[T]) -> T:
        try:
            return msgspec.convert(answer, kind, strict=False)
        except msgspec.ValidationError as error:
            raise EngineUnavailable(f"the engine at {self._host} answers unintelligibly: {error}") from error

    @contextlib.contextmanager
    def events(self, since: str | None) -> Iterator[Subscription]:
        """Subscribe; it stands when the block is entered."""
        with self._errors():
            # types-docker knows no text; a datetime or int would cut the moment to whole seconds
            stream = self._connected().events(  # type: ignore[call-overload]
                since=since, decode=True, filters={"type": ["container"], "event": list(ACTIONS)}
            )
        try:
            yield Subscription(stream, self._errors)
        finally:
            stream.close()

    def _connected(self) -> docker.APIClient:
        with self._guard:
            if self._api is None:
                # "auto": the engine's own version, asked now; pinning one breaks with the next engine
                self._api = docker.APIClient(base_url=self._host, version="auto", timeout=_SECONDS)
            return self._api

    def _ask_image_labels(self, image: str) -> Mapping[str, str]:
        try:
            with self._errors():
                inspected: dict[str, Any] = self._connected().inspect_image(image)  # type: ignore[no-untyped-call]
        except docker.errors.NotFound:  # removed by force while the container lives
            return {}
        return (inspected.get("Config") or {}).get("Labels") or {}

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        """Turn what the SDK raises into our kinds; NotFound passes."""
        try:
            yield
        except docker.errors.NotFound:
            raise
        except (docker.errors.DockerException, requests.RequestException, OSError, ValueError, KeyError) as error:
            with self._guard:
                self._api = None  # whatever comes back may be another engine, with another version
            raise EngineUnavailable(f"no Docker Engine answers at {self._host}: {_root_cause(error)}") from error


def _root_cause(error: BaseException) -> str:
    """The system's words at the bottom of what requests and urllib3 wrapped around them."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, FileNotFoundError):
            return "there is no such socket; is Docker running?"
        if isinstance(cause, PermissionError):
            return "permission denied"
        if isinstance(cause, ConnectionRefusedError):
            return "nobody listens on that socket; is Docker running?"
        cause = cause.__cause__ or cause.__context__
    return str(error)
