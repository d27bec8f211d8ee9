"""The sidecar: built by the legacy builder, run by Compose, on a host that has an engine and nothing else."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.hosts import IMAGE, NoAnswer, leftovers, serve_tcp, wait_until
from tests.hosts.engine import OVERLAY
from tests.install.conftest import ROOT
from tests.machines import release

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pytest_docker.plugin import Services

    from tests.hosts import Host

SIDECAR = "dockercni"
BASE = "debian"
CONTEXT = (
    "Dockerfile",
    ".dockerignore",
    "compose.yaml",
    "compose.privileged.yaml",
    "pyproject.toml",
    "README.md",
    "LICENSE",
)


COMPOSE = ("docker", "compose") if shutil.which("docker-compose") is None else ("docker-compose",)
# Images are built by the legacy builder, from the base that was made here.
ENVIRONMENT = {
    "BASE": BASE,
    "BUILD": BASE,
    "PIP_NO_INDEX": "1",
    "DOCKER_BUILDKIT": "0",
    "COMPOSE_DOCKER_CLI_BUILD": "0",
}


@pytest.fixture(scope="session")
def context(scratch: Path, wheels: Path) -> Path:
    """What is built from: the tree, and wheels, because nothing can be downloaded on this host."""
    directory = scratch / "context"
    shutil.copytree(ROOT / "dockercni", directory / "dockercni", ignore=shutil.ignore_patterns("__pycache__"))
    for name in CONTEXT:
        shutil.copy(ROOT / name, directory / name)
    shutil.copytree(wheels, directory / "wheels")
    argv = [sys.executable, "-m", "pip", "download", "--quiet", f"--dest={directory / 'wheels'}", "hatchling"]
    subprocess.run(argv, check=True, capture_output=True)
    return directory


@pytest.fixture(scope="session")
def docker_compose_file(context: Path) -> str:
    """The file that users get."""
    return str(context / "compose.yaml")


@pytest.fixture(scope="session")
def docker_compose_command(host: Host) -> str:
    """Whatever Compose is here, in the private host."""
    settings = (f"{name}={value}" for name, value in ENVIRONMENT.items())
    return " ".join((*host.entry, "env", "DOCKER_CONFIG=/run/docker-cli", *settings, *COMPOSE))


@pytest.fixture(scope="session")
def docker_setup() -> list[str]:
    """The command of compose.yaml's first line, which version 1 knows as well."""
    return ["up --detach --build"]


@pytest.fixture(scope="session")
def docker_cleanup() -> list[str]:
    """The last test takes it down."""
    return []


@pytest.fixture(scope="session")
def base(host: Host) -> None:
    """The image that the sidecar is built from, since nothing can be pulled."""
    host.run("/bin/sh", "-c", f"tar -C {release().root()} -c . | docker import - {BASE}", timeout=300)


@pytest.fixture
def sidecar(base: None, docker_services: Services, host: Host) -> Iterator[Host]:
    """The host, with the sidecar running and healthy; other containers end with the test."""
    del docker_services
    wait_until(lambda: healthy(host), 60, "a healthy sidecar", lambda: logs(host))
    yield host
    if left := [name for name in host.docker("ps", "--all", "--format={{.Names}}").split() if name != SIDECAR]:
        host.docker("rm", "--force", *left)


def healthy(host: Host) -> bool:
    """Whether a daemon lives in it: what its health check asks, without waiting for the next one."""
    probe = host.run("docker", "exec", SIDECAR, "dockercni", "status", "--probe", check=False)
    return probe.returncode == 0


def logs(host: Host) -> str:
    """All that it has said."""
    return host.run("docker", "logs", SIDECAR, check=False).stderr


def web(host: Host, name: str, port: int, *flags: str) -> None:
    """A container with a web server that says at its first instruction which address it has."""
    command = ("sh", "-c", f"ip -4 -o address show dev eth0; exec {' '.join(serve_tcp(80))}")
    options = ("--detach", f"--name={name}", "--network=none", f"--publish={port}:80")
    host.docker("run", *options, *flags, IMAGE, *command)


def wait_answer(host: Host, port: int) -> None:
    """Wait until a published port answers."""
    wait_until(lambda: answers(host, port), 30, f"an answer from port {port}", lambda: logs(host))


def answers(host: Host, port: int) -> bool:
    """Whether it does."""
    try:
        return b"peer=" in host.tcp_request("127.0.0.1", port)
    except NoAnswer:
        return False


def link(host: Host, name: str) -> str:
    """The container's link, with the index that a new one would not have."""
    return host.docker("exec", name, "ip", "-o", "link", "show", "dev", "eth0")


def test_what_runs_is_what_the_file_says(sidecar: Host) -> None:
    """No privileged container, a read-only root, and exactly the capabilities with a reason; labels say what it is."""
    shown = json.loads(sidecar.docker("inspect", SIDECAR))[0]
    config = shown["HostConfig"]
    assert (config["Privileged"], config["ReadonlyRootfs"], config["CapDrop"]) == (False, True, ["ALL"])
    assert len(config["CapAdd"]) == 10
    assert shown["Config"]["Labels"]["org.opencontainers.image.title"] == "dockercni"
    assert shown["Config"]["Healthcheck"]["Test"][-2:] == ["status", "--probe"]


def test_containers_of_the_host_are_served(sidecar: Host) -> None:
    """The network is there at the first instruction, found and held before the engine tells of the start."""
    web(sidecar, "web", 8080)
    wait_answer(sidecar, 8080)
    assert "inet 10." in sidecar.docker("logs", "web")
    said = logs(sidecar)
    assert '"released"' in said
    assert '"early watch off"' not in said
    assert '"hold off"' not in said
    sidecar.docker("rm", "--force", "web")
    wait_until(lambda: not leftovers(sidecar), 20, "no leftovers", lambda: leftovers(sidecar))


def test_it_never_attaches_itself(sidecar: Host) -> None:
    """Neither its events nor a sync make it configure the host's own namespace."""
    sidecar.docker("exec", SIDECAR, "dockercni", "sync")
    assert f'"container": "{SIDECAR}"' not in logs(sidecar)
    assert sidecar.docker("exec", SIDECAR, "dockercni", "ps", "-o", "name") == ""
    explained = sidecar.docker("exec", SIDECAR, "dockercni", "explain", SIDECAR)
    assert "host" in explained


@pytest.mark.parametrize("how", ["restart", "kill", "recreate"])
def test_it_is_replaced(sidecar: Host, how: str, docker_compose_file: str) -> None:
    """Restarted, killed, or made anew from a newer image: running containers keep their link, the next are served."""
    web(sidecar, "web", 8080)
    wait_answer(sidecar, 8080)
    before = link(sidecar, "web")
    pid = sidecar.docker("inspect", "--format={{.State.Pid}}", SIDECAR)
    if how == "restart":
        sidecar.docker("restart", SIDECAR)
    elif how == "kill":
        sidecar.run("kill", "-KILL", pid)
    else:
        sidecar.docker("rm", "--force", SIDECAR)
        sidecar.run(*COMPOSE, "--file", docker_compose_file, "up", "--detach", "--force-recreate", env=ENVIRONMENT)
    wait_until(
        lambda: sidecar.docker("inspect", "--format={{.State.Pid}}", SIDECAR) not in {"0", pid} and healthy(sidecar),
        30,
        "the next daemon",
        lambda: logs(sidecar),
    )
    assert answers(sidecar, 8080)
    web(sidecar, "next", 8081)
    wait_answer(sidecar, 8081)
    assert link(sidecar, "web") == before
    sidecar.docker("rm", "--force", "web")
    wait_until(lambda: len(list(sidecar.path("/run/netns").iterdir())) == 1, 20, "the pin's end", lambda: logs(sidecar))


def test_the_engine_is_restarted(sidecar: Host) -> None:
    """Engine, sidecar and container start together; the container gets its network again."""
    web(sidecar, "web", 8080, "--restart=always")
    wait_answer(sidecar, 8080)
    sidecar.stop_engine()
    sidecar.start_engine(OVERLAY)
    wait_answer(sidecar, 8080)


def test_removal(sidecar: Host, docker_compose_file: str) -> None:
    """`down`, then `run --rm dockercni uninstall`: what runs gives its network back, and the host is as it was."""
    web(sidecar, "web", 8080)
    wait_answer(sidecar, 8080)
    compose = (*COMPOSE, "--file", docker_compose_file)
    sidecar.run(*compose, "down", env=ENVIRONMENT)
    done = sidecar.run(*compose, "run", "--rm", "dockercni", "uninstall", env=ENVIRONMENT)
    assert "give back the networks of web" in done.stdout
    assert leftovers(sidecar) == []
    assert "dockercni" not in sidecar.run("nft", "list", "tables").stdout
    assert "dockercni" not in sidecar.run("ip", "link").stdout
    for directory in ("/run/dockercni", "/var/lib/dockercni", "/var/lib/cni"):
        path = sidecar.path(directory)
        assert not path.exists() or not list(path.iterdir())
