"""Which containers are served, and which are not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.engine.containers import addresses, run
from tests.hosts import IMAGE, leftovers

if TYPE_CHECKING:
    from tests.engine.daemons import Cli, Start
    from tests.hosts import Host


@pytest.mark.parametrize(
    "label",
    [
        "dockercni.enable=false",
        "io.kubernetes.docker.type=podsandbox",
        "io.kubernetes.pod.uid=42",
        "com.hashicorp.nomad.alloc_id=42",
    ],
)
def test_left_alone(host: Host, daemon: Start, cli: Cli, label: str) -> None:
    """A container that opted out, or that an orchestrator wires, is left alone by daemon and `sync`."""
    running = daemon()
    run(host, "not", f"--label={label}")
    run(host, "yes")
    running.wait_event("ADD", container="yes")  # the event of `not` came before
    assert cli("sync").stdout.splitlines() == ["converged: 1 container, 1 attachment, 0 repaired"]
    assert not addresses(host, "not")


def test_other_network_modes(host: Host, daemon: Start, cli: Cli) -> None:
    """Containers on Docker's own networks, on the host's, or in another container's are left alone."""
    running = daemon()
    host.docker("run", "--detach", "--name=bridge", IMAGE)
    host.docker("run", "--detach", "--name=host", "--network=host", IMAGE)
    run(host, "web")
    host.docker("run", "--detach", "--name=joined", "--network=container:web", IMAGE)
    running.wait_event("ADD", container="web")
    assert cli("sync").stdout.splitlines() == ["converged: 1 container, 1 attachment, 0 repaired"]
    assert addresses(host, "joined") == addresses(host, "web")
    assert [line.split()[0] for line in leftovers(host)].count("cache") == 1


def test_labelled_only(host: Host, daemon: Start, cli: Cli) -> None:
    """With attach=labelled only containers with a dockercni label are served."""
    host.write("/etc/dockercni/dockercni.toml", 'attach = "labelled"\n')
    running = daemon()
    run(host, "plain", "--label=other=1")
    run(host, "labelled", "--label=dockercni.enable=true")
    running.wait_event("ADD", container="labelled")
    assert cli("sync").stdout.splitlines() == ["converged: 1 container, 1 attachment, 0 repaired"]
    assert not addresses(host, "plain")


def with_labels(host: Host, *labels: str) -> str:
    """An image that carries the labels."""
    base = host.docker("create", IMAGE)
    image = host.docker("commit", *(f"--change=LABEL {label}" for label in labels), base, "labelled-image")
    host.docker("rm", base)
    return image


def test_labels_of_the_image_do_not_choose(host: Host, daemon: Start, cli: Cli) -> None:
    """A label that came with the image, as far as anybody can tell, gives no network, neither that one nor another."""
    image = with_labels(host, "dockercni.networks=elsewhere", "dockercni.hold=5s")
    running = daemon()
    host.docker("run", "--detach", "--name=web", "--network=none", image)
    host.docker("run", "--detach", "--name=same", "--network=none", "--label=dockercni.networks=elsewhere", image)
    for name in ("web", "same"):
        reason = running.wait_event("not attached", container=name)["reason"]
        assert "dockercni.networks=elsewhere: the image has the same label" in reason
        assert "trust-image-labels" in reason
        assert not addresses(host, name)
    assert "gets no network: label dockercni.networks=elsewhere: the image has" in cli("explain", "web").stdout
    assert cli("sync").returncode == 4


def test_labels_of_the_image_that_change_nothing(host: Host, daemon: Start) -> None:
    """Labels of the image that make no difference are dropped, and so is an empty one; others count if typed."""
    image = with_labels(host, "dockercni.hold=off", "dockercni.enable=true", "dockercni.networks=")
    running = daemon()
    host.docker("run", "--detach", "--name=web", "--network=none", image)
    running.wait_event("ADD", container="web", network="dockercni")
    host.docker("run", "--detach", "--name=own", "--network=none", "--label=dockercni.ip=10.22.0.98", image)
    assert running.wait_event("ADD", container="own")["addresses"] == ["10.22.0.98/16"]


def test_image_may_opt_out(host: Host, daemon: Start) -> None:
    """`dockercni.enable=false` counts even when the image says it."""
    image = with_labels(host, "dockercni.enable=false")
    running = daemon()
    host.docker("run", "--detach", "--name=not", "--network=none", image)
    run(host, "yes")
    running.wait_event("ADD", container="yes")
    assert not addresses(host, "not")


def test_images_may_be_trusted(host: Host, daemon: Start) -> None:
    """With trust-image-labels the image's labels count."""
    image = with_labels(host, "dockercni.ip=10.22.0.99")
    running = daemon("--trust-image-labels")
    host.docker("run", "--detach", "--name=web", "--network=none", image)
    assert running.wait_event("ADD", container="web")["addresses"] == ["10.22.0.99/16"]


@pytest.mark.parametrize(
    ("label", "words"),
    [
        ("dockercni.netwroks=a", "did you mean dockercni.networks?"),
        ("dockercni.enable=maybe", "must be true or false"),
        ("dockercni.ip=10.22.0.99/16", "prefix length"),
        ("dockercni.mac=01:00:00:00:00:01", "multicast"),
        ("dockercni.ports=8080:80", "not supported yet"),
    ],
)
def test_bad_label(host: Host, daemon: Start, cli: Cli, label: str, words: str) -> None:
    """A bad label is an error that names the label, in log and `sync`; the container stays without any network."""
    running = daemon()
    run(host, "web", f"--label={label}")
    event = running.wait_event("not attached", container="web")
    assert event["level"] == "error"
    for reason in (event["reason"], (done := cli("sync")).stdout):
        assert label in reason
        assert words in reason
    assert done.returncode == 4
    assert done.stdout.splitlines()[-1] == "not converged: 0 containers, 0 attachments, 1 with problems: web"
    assert not addresses(host, "web")
    assert leftovers(host) == []
