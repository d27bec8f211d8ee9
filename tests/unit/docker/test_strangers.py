"""dockercni.docker.client: what is said of a socket with nobody, somebody else, or a strange engine behind it."""

from __future__ import annotations

import errno
import socket
import socketserver
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dockercni.docker.client import Client
from dockercni.docker.image_labels import Images
from dockercni.errors import DockercniError, EngineRefused, EngineUnavailable
from tests.unit.docker.fake import INFO, VERSION, Answer, fake_engine, raw_server

ID = "a" * 64
GOOD: dict[str, Answer] = {"/version": VERSION, "/info": INFO}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "docker.sock"


def test_an_engine_is_known(path: Path) -> None:
    """What an engine says of itself comes out."""
    with fake_engine(path, GOOD) as url:
        engine = Client(url).engine()
    assert (engine.id, engine.version, engine.root) == ("ENGINE", "20.10.24", "/var/lib/docker")


def test_runtimes_are_known(path: Path) -> None:
    """Each name of a runtime comes with what it stands for: a program, or containerd's name of its kind."""
    named = {"vm": {"runtimeType": "io.containerd.kata.v2"}, "runc": {"path": "runc", "status": {}}, "bare": {}}
    info = {**INFO, "DefaultRuntime": "vm", "Runtimes": named}
    with fake_engine(path, {**GOOD, "/info": info}) as url:
        engine = Client(url).engine()
    assert engine.runtime == "vm"
    assert engine.runtimes == (("bare", ""), ("runc", "runc"), ("vm", "io.containerd.kata.v2"))


def test_no_socket(path: Path) -> None:
    """A socket that is not there may come: try again."""
    with pytest.raises(EngineUnavailable, match=r"docker\.sock: there is no such socket; is Docker running\?"):
        Client(f"unix://{path}").engine()


def test_nobody_listens(path: Path) -> None:
    """A socket that an engine left behind is told from one that was never there."""
    with raw_server(path, lambda _: None):
        pass
    with pytest.raises(EngineUnavailable, match="no process listens on that socket"):
        Client(f"unix://{path}").engine()


def test_not_allowed(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A socket that we may not use is said to be that."""

    def refuse(_self: socket.socket, _address: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    with pytest.raises(EngineUnavailable, match=r"docker\.sock: permission denied"):
        Client(f"unix://{path}").engine()


def _closes(_: socketserver.StreamRequestHandler) -> None:
    """Say nothing, and close."""


def _garbage(handler: socketserver.StreamRequestHandler) -> None:
    handler.wfile.write(b"\x00\xff SSH-2.0-OpenSSH\r\n\r\n")


def _half(handler: socketserver.StreamRequestHandler) -> None:
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{")


RAW = [
    (_closes, EngineUnavailable, "it closes the connection without an answer"),
    (_garbage, EngineRefused, "is no Docker Engine: it does not speak HTTP"),
    (_half, EngineUnavailable, "no Docker Engine answers"),
]


@pytest.mark.parametrize(("talk", "kind", "words"), RAW, ids=lambda value: getattr(value, "__name__", ""))
def test_a_server_that_does_not_speak(
    path: Path, talk: Callable[[socketserver.StreamRequestHandler], None], kind: type[DockercniError], words: str
) -> None:
    """One that closes may be starting; one that says something else than HTTP is no engine."""
    with raw_server(path, talk) as url, pytest.raises(kind, match=words) as caught:
        Client(url).engine()
    assert "\n" not in str(caught.value)


STRANGERS: list[tuple[dict[str, Answer], type[DockercniError], str]] = [
    ({}, EngineRefused, "no Docker Engine: it answers 404"),
    ({"/version": (200, b"<html>hello</html>")}, EngineRefused, "no Docker Engine: it does not speak JSON"),
    ({"/version": (200, b"")}, EngineRefused, "no Docker Engine: it does not speak JSON"),
    ({"/version": {}}, EngineRefused, "no Docker Engine: its answers are of another kind"),
    ({"/version": []}, EngineRefused, "no Docker Engine: its answers are of another kind"),
    ({"/version": {"ApiVersion": 7}, "/info": INFO}, EngineUnavailable, "Version parameter must be a string"),
    ({"/version": {"ApiVersion": "x.y"}, "/info": INFO}, EngineUnavailable, "no Docker Engine answers"),
    ({"/version": {"ApiVersion": "1.3"}, "/info": INFO}, EngineUnavailable, "no longer supported"),
    ({"/version": VERSION}, EngineRefused, "no Docker Engine: it has no /info"),
    ({"/version": VERSION, "/info": {}}, EngineRefused, "no Docker Engine: it does not say its ID"),
    ({"/version": VERSION, "/info": []}, EngineUnavailable, "answers unintelligibly"),
    ({"/version": VERSION, "/info": {"ID": 7}}, EngineUnavailable, r"answers unintelligibly: .*\.ID"),
    ({"/version": VERSION, "/info": {"ID": "x", "SecurityOptions": "rootless"}}, EngineUnavailable, "SecurityOptions"),
    ({"/version": VERSION, "/info": (503, b"starting")}, EngineUnavailable, "503"),
    ({"/version": VERSION, "/info": (403, b"no")}, EngineUnavailable, "403"),
    ({**GOOD, "/info": {**INFO, "SecurityOptions": ["name=seccomp", "name=rootless"]}}, EngineRefused, "is rootless"),
]


@pytest.mark.parametrize(("answers", "kind", "words"), STRANGERS, ids=lambda value: str(value)[:50])
def test_a_server_that_is_no_engine(
    path: Path, answers: dict[str, Answer], kind: type[DockercniError], words: str
) -> None:
    """What answers like no engine is refused with the reason; what may be an engine in trouble is tried again."""
    with fake_engine(path, answers, headers=False) as url, pytest.raises(kind, match=words) as caught:
        Client(url).engine()
    assert "\n" not in str(caught.value)
    assert bool(caught.value.retry) is (kind is EngineUnavailable)


def test_the_404_of_an_engine_means_gone(path: Path) -> None:
    """An engine that knows no such container says None."""
    with fake_engine(path, GOOD) as url:
        assert Client(url).container("web") is None


def test_the_404_of_a_stranger_does_not(path: Path) -> None:
    """A page that some other server does not have is no news of a container: its network must not be taken back."""
    with fake_engine(path, GOOD, headers=False) as url, pytest.raises(EngineRefused, match="no Docker Engine"):
        Client(url).container("web")


@pytest.mark.parametrize("name", ["", ".", "..", "../info", "a/b", "a?b", "a b", "%2e", "é", "a\n", "/"])
def test_what_cannot_be_a_name_is_not_asked_for(path: Path, name: str) -> None:
    """A word that no container can have for its name never becomes part of a URL."""
    assert Client(f"unix://{path}").container(name) is None


def test_a_name_may_have_dockers_slash(path: Path) -> None:
    """The name as the API spells it is understood."""
    with fake_engine(path, {**GOOD, "/containers/web/json": {"Id": ID, "Name": "/web"}}) as url:
        found = Client(url).container("/web")
    assert found
    assert found.name == "web"


@pytest.mark.parametrize(
    "line", [b"7", b"[]", b"{}", b'{"Action":"start"}', b'{"Action":"start","Actor":{"ID":1},"timeNano":1}', b"x{"]
)
def test_strange_events_end_the_stream_in_words(path: Path, line: bytes) -> None:
    """A line that is no event is an error that the watch answers with a new start, not a traceback."""
    with fake_engine(path, {**GOOD, "/events": (200, line + b"\n")}) as url, pytest.raises(DockercniError):
        _consume(url)


def _consume(url: str) -> None:
    with Client(url).events(None) as events:
        _all(events)
    raise EngineUnavailable("the stream ended")  # half a line is no event at all


def _all(events: Iterator[object]) -> list[object]:
    return list(events)


def test_labels_of_the_image_are_dropped(path: Path) -> None:
    """A label that the image has with the same value is not the user's; what was dropped is remembered."""
    labels = {"dockercni.networks": "lan", "dockercni.ip": "10.0.0.1", "other": "x"}
    container = {"Id": ID, "Image": "sha256:1", "Config": {"Labels": labels}}
    image = {"Config": {"Labels": {"dockercni.networks": "lan", "dockercni.ip": "10.0.0.2"}}}
    answers = {**GOOD, f"/containers/{ID}/json": container, "/images/sha256:1/json": image}
    images = Images()
    with fake_engine(path, answers) as url:
        found = Client(url, images=images).container(ID)
        trusting = Client(url, trust_image_labels=True).container(ID)
    assert found
    assert trusting
    assert (found.labels, found.dropped) == (
        {"dockercni.ip": "10.0.0.1", "other": "x"},
        {"dockercni.networks": "lan"},
    )
    assert (trusting.labels, trusting.dropped) == (labels, {})
    assert images.known("sha256:1") == image["Config"]["Labels"]


@pytest.mark.parametrize("image", [[], {"Config": None}, {"Config": {"Labels": None}}, {"Config": 7}, {"Config": []}])
def test_strange_images_are_an_error_or_without_labels(path: Path, image: object) -> None:
    """An image whose answer cannot be read lets no label through unseen."""
    container = {"Id": ID, "Image": "sha256:1", "Config": {"Labels": {"dockercni.ip": "b"}}}
    with fake_engine(path, {**GOOD, f"/containers/{ID}/json": container, "/images/sha256:1/json": image}) as url:
        try:
            found = Client(url).container(ID)
        except EngineUnavailable:
            return
    assert found
    assert found.labels == {"dockercni.ip": "b"}
