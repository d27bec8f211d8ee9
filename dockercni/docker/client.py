"""The Docker Engine API, as far as we need it. The only importer of the docker SDK.

Every call is a GET: the socket may well sit behind a proxy that allows nothing else.
"""

from __future__ import annotations

import contextlib
import http.client
import logging
import re
import threading
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, TypeVar

import docker
import docker.errors
import msgspec
import requests
import urllib3
from docker.transport import UnixHTTPAdapter

from dockercni.docker import data_root
from dockercni.docker.api import EventLine, Image, Info, Inspected, Listed, ListedNetwork, described, vetted
from dockercni.docker.image_labels import Images, matter
from dockercni.errors import EngineRefused, EngineUnavailable
from dockercni.model import Container

T = TypeVar("T")
ACTIONS: Final = ("start", "die", "destroy")
_SECONDS: Final = 20  # for an answer: inspect of a container that is starting waits until it has started
_LONGEST_LINE: Final = 16 << 20  # bytes of an event, which has all labels of its container
_MESSAGES: Final = msgspec.json.Decoder(EventLine, strict=False)
_CONNECTIONS: Final = 16  # kept open; further ones are closed after use
_NAME: Final = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]*")


@dataclass(frozen=True, slots=True)
class Engine:
    """The engine that answers. `root` is its data root.

    `host_ip` is where it publishes ports that name no address ("" for all addresses), `mtu` the MTU of its links (0 for
    the default). `runtime` is the name of its default runtime, `runtimes` has the program or kind of each name.
    """

    id: str
    version: str
    root: str
    cgroup_driver: str = ""
    cgroup_version: str = ""
    runtime: str = ""
    host_ip: str = ""
    mtu: int = 0
    runtimes: tuple[tuple[str, str], ...] = ()

    @property
    def mark(self) -> str:
        """What tells it from every other engine. Two of 20.10 on one host share an id (/etc/docker/key.json)."""
        return f"{self.id}@{self.root}" if self.root else self.id


@dataclass(frozen=True, slots=True)
class Event:
    """Something happened to a container or network. `moment` is "seconds.nanoseconds", the form that `since` takes."""

    id: str
    action: str
    moment: str
    kind: str = "container"


class Subscription:
    """The events of one connection, in order; iterating ends when the connection does."""

    def __init__(self, client: Client, stream: Any) -> None:
        self._client = client
        self._stream = stream
        self.replaced = False

    def __iter__(self) -> Iterator[Event]:
        with self._client.errors():
            for line in self._client.lines(self._stream):
                message = self._client.decoded(line)
                moment = f"{message.timeNano // 10**9}.{message.timeNano % 10**9:09d}"
                yield Event(message.Actor.ID, message.Action, moment, message.Type)

    def replace(self) -> None:
        """End it, from any thread; its reader then subscribes again."""
        self.replaced = True
        _close(self._stream)


class Client:
    """Talks to the engine at `host` ("unix:///run/docker.sock"). Thread-safe; connects when first used.

    Every method raises EngineUnavailable while nothing answers; `engine` also EngineRefused, for an engine that we
    cannot serve.
    """

    def __init__(self, host: str, *, trust_image_labels: bool = False, images: Images | None = None) -> None:
        self.images = images or Images()
        self._host = host
        self._trust_image_labels = trust_image_labels
        self._api: docker.APIClient | None = None
        self._guard = threading.Lock()

    def engine(self) -> Engine:
        """Ask which engine answers. Raises EngineRefused for a rootless one."""
        try:
            with self.errors():
                answer = self._connected().info()
        except docker.errors.NotFound as error:
            raise self._stranger("it has no /info") from error
        info = self.understood(answer, Info)
        if any("rootless" in option for option in info.SecurityOptions or ()):
            raise EngineRefused(
                f"the engine at {self._host} is rootless: its namespaces cannot be entered from outside"
            )
        if not info.ID:
            raise self._stranger("it does not say its ID")
        host_ip, mtu = self._defaults()
        return Engine(
            info.ID,
            info.ServerVersion,
            info.DockerRootDir,
            info.CgroupDriver,
            info.CgroupVersion,
            info.DefaultRuntime,
            host_ip,
            mtu,
            info.runtimes,
        )

    def container(self, name: str) -> Container | None:
        """The container of that id or name; None where the engine knows none."""
        if not _NAME.fullmatch(name.removeprefix("/")):
            return None  # no container can have that name, and it must not become part of a URL
        try:
            with self.errors():
                answer = self._connected().inspect_container(name.removeprefix("/"))
        except docker.errors.NotFound as error:
            if error.response is None or "Api-Version" not in error.response.headers:
                # another server's 404 must not be taken for the removal of a container
                raise self._stranger("it knows no such page") from error
            return None
        inspected = self.understood(answer, Inspected)
        container = described(inspected)
        if self._trust_image_labels or not matter(container.labels):
            return container
        return self.vet(replace(container, image=inspected.Image))

    def vet(self, container: Container) -> Container:
        """The container without its image's labels, if those were not removed yet."""
        if not container.image:
            return container
        labels = self.images.known(container.image)
        return vetted(container, self._ask_image_labels(container.image) if labels is None else labels)

    def running(self) -> list[Listed]:
        """The running containers. Unlike inspect, the list call never waits for one that is starting."""
        with self.errors():
            listed = self._connected().containers()
        return self.understood(listed, list[Listed])

    def networks(self) -> list[ListedNetwork]:
        """The engine's own networks. A proxy may refuse this one."""
        try:
            with self.errors():
                listed = self._connected().networks()
        except docker.errors.NotFound as error:
            raise self._stranger("it has no /networks") from error
        return self.understood(listed, list[ListedNetwork])

    def _defaults(self) -> tuple[str, int]:
        """The default address of published ports and the MTU, both options of the engine's default network.

        Read from the engine's configuration file where there is no such network, or a proxy hides it.
        """
        try:
            with self.errors():
                answer = self._connected().inspect_network("bridge")
            network = self.understood(answer, ListedNetwork)
        except (docker.errors.NotFound, EngineRefused, EngineUnavailable):
            return data_root.defaults() if self._host.startswith("unix:") else ("", 0)
        return network.host_ip, network.mtu

    def _stranger(self, why: str) -> EngineRefused:
        return EngineRefused(f"what answers at {self._host} is no Docker Engine: {why}")

    def understood(self, answer: object, kind: type[T]) -> T:
        try:
            return msgspec.convert(answer, kind, strict=False)
        except msgspec.ValidationError as error:
            raise EngineUnavailable(f"the engine at {self._host} answers unintelligibly: {error}") from error

    def lines(self, chunks: Iterable[bytes | str]) -> Iterator[bytes]:
        """The whole lines of a stream. Raises EngineUnavailable for a line without an end."""
        rest = b""
        for chunk in chunks:
            *whole, rest = (rest + (chunk.encode() if isinstance(chunk, str) else chunk)).split(b"\n")
            yield from filter(None, whole)
            if len(rest) > _LONGEST_LINE:
                raise EngineUnavailable(f"the engine at {self._host} sends an event of more than {_LONGEST_LINE} bytes")

    def decoded(self, line: bytes) -> EventLine:
        """A line of GET /events. Raises EngineUnavailable."""
        try:
            return _MESSAGES.decode(line)
        except (msgspec.DecodeError, ValueError) as error:
            raise EngineUnavailable(f"the engine at {self._host} sends no event: {error}") from error

    @contextlib.contextmanager
    def events(self, since: str | None) -> Iterator[Subscription]:
        """Subscribe; the subscription is complete when the block is entered."""
        with self.errors():
            # as text, which types-docker does not allow: a datetime or int would be cut to whole seconds
            stream = self._connected().events(  # type: ignore[call-overload]
                since=since, decode=False, filters={"type": ["container", "network"], "event": [*ACTIONS, "create"]}
            )
        try:
            yield Subscription(self, stream)
        finally:
            _close(stream)

    def _connected(self) -> docker.APIClient:
        with self._guard:
            if self._api is None:
                # "auto" asks the engine for its version; a pinned one breaks with the next engine
                self._api = _one_pool(docker.APIClient(base_url=self._host, version="auto", timeout=_SECONDS))
            return self._api

    def _ask_image_labels(self, image: str) -> Mapping[str, str]:
        try:
            with self.errors():
                answer = self._connected().inspect_image(image)  # type: ignore[no-untyped-call]  # the SDK's gap
        except docker.errors.NotFound:  # removed by force while the container lives
            return {}
        inspected = self.understood(answer, Image)
        labels = (inspected.Config and inspected.Config.Labels) or {}
        self.images.learn(image, labels, keep=True)
        return labels

    @contextlib.contextmanager
    def errors(self) -> Iterator[None]:
        """Turn the SDK's errors into ours; NotFound passes."""
        try:
            yield
        except docker.errors.NotFound:
            raise
        except _RAISED as error:
            with self._guard:
                self._api = None  # what answers next may be another engine, with another version
            if why := _not_an_engine(error):
                raise self._stranger(why) from error
            raise EngineUnavailable(f"no Docker Engine answers at {self._host}: {_root_cause(error)}") from error


def _close(stream: Any) -> None:
    """Close the SDK's stream, which fails in many ways where the connection has just ended."""
    with contextlib.suppress(Exception):
        stream.close()


class _OnePool(UnixHTTPAdapter):
    """One pool of connections for the whole socket.

    The SDK's own adapter has a pool for each URL, hence a new connection for each container, and closes pools that
    other threads are about to use when there are more than 25.
    """

    def get_connection(self, url: str | bytes, proxies: Any = None) -> Any:  # noqa: ARG002  as the SDK calls it
        return super().get_connection("http+docker://localhost")


def _one_pool(api: docker.APIClient) -> docker.APIClient:
    before = api.get_adapter(api.base_url)
    if isinstance(before, UnixHTTPAdapter):
        after = _OnePool(f"http+unix://{before.socket_path}", _SECONDS, max_pool_size=_CONNECTIONS)
        api.mount("http+docker://", after)
        api.trust_env = False  # a Unix socket has no proxy and no netrc, but both would be looked up for each request
        logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)  # a full pool is no reason for a warning
        before.close()
    return api


# The SDK does not check answers before it reads them, so another server's answer makes it raise nearly anything.
_RAISED: Final = (
    docker.errors.DockerException,
    requests.RequestException,
    OSError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    RecursionError,
    urllib3.exceptions.HTTPError,
    http.client.HTTPException,
)


def _not_an_engine(error: BaseException) -> str:
    """Why what answered is no engine; "" where nothing answered, or an engine reported an error."""
    for cause in _causes(error):
        match cause:
            case requests.exceptions.JSONDecodeError():
                return "it does not speak JSON"
            case requests.HTTPError(response=response) if response is not None and response.status_code < 500:
                if response.status_code in {401, 403} or "Api-Version" in response.headers:
                    return ""  # a proxy or an engine that refuses the request
                return f"it answers {response.status_code} {response.reason}"
            case http.client.BadStatusLine() | http.client.UnknownProtocol() if not isinstance(
                cause, http.client.RemoteDisconnected
            ):
                return "it does not speak HTTP"
            case LookupError() | TypeError() | AttributeError() | RecursionError():
                return "its answers are of another kind"
    return ""


def _root_cause(error: BaseException) -> str:
    """The operating system's error below what requests and urllib3 wrapped around it."""
    for cause in _causes(error):
        match cause:
            case FileNotFoundError():
                return "there is no such socket; is Docker running?"
            case PermissionError():
                return "permission denied"
            case ConnectionRefusedError():
                return "no process listens on that socket; is Docker running?"
            case ConnectionResetError() | BrokenPipeError():
                return "it closes the connection without an answer"
            case TimeoutError() | requests.Timeout():
                return f"no answer within {_SECONDS} s"
    return str(error)


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error and its causes."""
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__ or cause.__context__
