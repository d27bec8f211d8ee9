"""dockercni explain: the reasons, for containers that are made up."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from dockercni import settings
from dockercni.commands import explain
from dockercni.docker.client import Engine
from dockercni.model import Container
from dockercni.reconcile.reconciler import AttachPolicy
from dockercni.wiring import App, wire

ID = "1" * 64
WEB = Container(ID, "web", running=True, pid=1, network_mode="none", labels={}, started_at="then")
SPARED = {ID: "then"}


@pytest.fixture
def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> App:
    """A host with two networks, of which one gives a default route."""
    monkeypatch.setattr("os.geteuid", lambda: 0)
    for name, more in (("lan", '"isGateway": true, "isDefaultGateway": true,'), ("store", "")):
        subnet = '"ipam": {"type": "host-local", "subnet": "10.9.0.0/24"}'
        text = f'{{"cniVersion": "1.0.0", "name": "{name}", "plugins": [{{"type": "bridge", {more} {subnet}}}]}}'
        (tmp_path / f"{name}.conflist").write_text(text)
    keys = ("cni-conf-dir", "cni-cache-dir", "state-dir", "run-dir", "netns-dir")
    file = tmp_path / "dockercni.toml"
    file.touch()
    return wire(settings.load(dict.fromkeys(keys, str(tmp_path)), {}, file))


def reasons(app: App, container: Container, spared: dict[str, str]) -> list[str]:
    engine = Engine("e", "20.10", "")
    sync, daemon = (app.reconciler(engine, policy) for policy in (AttachPolicy(), AttachPolicy("all", spared)))
    return list(explain._reasons(app, container, sync, daemon))


def test_the_start_that_is_spared_is_over_when_it_ends(app: App) -> None:
    """A container that ran before the first start of dockercni is left alone only until it stops."""
    running = reasons(app, WEB, SPARED)
    assert any(line.startswith("the daemon leaves it alone: it ran already") for line in running)
    stopped = reasons(app, replace(WEB, running=False, pid=0), SPARED)
    assert stopped[0] == "it is not running, so it has no network now"
    assert not any("leaves it alone" in line for line in stopped)


def test_what_would_keep_a_stopped_container_from_its_networks(app: App) -> None:
    """The next sync has nothing to say of a container that does not run, so the reasons name what is wrong; once."""
    labels = {"dockercni.networks": "lan", "dockercni.gateway": "store"}
    stopped = replace(WEB, running=False, labels=labels)
    assert reasons(app, stopped, {})[-1].startswith("cannot be attached: label dockercni.gateway=store")
    stopped = replace(stopped, labels={"dockercni.networks": "nowhere"})
    assert sum("nowhere" in line for line in reasons(app, stopped, {})) == 1
