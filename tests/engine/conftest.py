"""A private host with an engine for each test worker, brought back to its beginning after each test."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from tests.engine.daemons import Daemon, run_cli, start_daemon
from tests.hosts import Host, Outside, import_image, wipe

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Generator, Iterator

LOGS = pytest.StashKey["list[Callable[[], tuple[str, str]]]"]()


@pytest.fixture(scope="session")
def host() -> Iterator[Host]:
    """The private host: its engine runs, and has the image of the tests."""
    if os.geteuid() != 0:
        pytest.skip("needs root")
    with Host() as started:
        started.start_engine()
        import_image(started)
        yield started


@pytest.fixture(scope="session")
def outside(host: Host) -> Iterator[Outside]:
    """Another machine on the host's uplink."""
    world = Outside(host)
    yield world
    world.close()


@pytest.fixture(autouse=True)
def clean(host: Host, outside: Outside, request: pytest.FixtureRequest) -> Iterator[None]:
    """No container, configuration or state outlives a test; an engine that it stopped runs again."""
    request.node.stash.setdefault(LOGS, []).append(lambda: ("engine", (host.logs / "dockerd.log").read_text()[-4000:]))
    yield
    for program in host.background:
        if program is not host.engine.process and program.running:
            program.kill()
    if not host.engine.running:
        host.start_engine()
    if left := host.docker("ps", "--all", "--quiet").split():
        host.docker("rm", "--force", "--volumes", *left)
    wipe(host)


@pytest.fixture
def daemon(host: Host, request: pytest.FixtureRequest) -> Iterator[Callable[..., Daemon]]:
    """Start `dockercni daemon FLAGS...` in the host, and wait until it is ready; ended with the test."""
    started: list[Daemon] = []

    def start(*flags: str, wait: bool = True) -> Daemon:
        one = start_daemon(host, *flags)
        started.append(one)
        request.node.stash.setdefault(LOGS, []).append(lambda: (f"daemon {one.program.pid}", one.program.text()))
        if wait:
            one.wait_event("ready")
        return one

    yield start
    for one in started:
        if one.program.running:
            one.kill()


@pytest.fixture
def cli(host: Host) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run `dockercni ARGUMENTS...` in the host; a test looks at the exit code itself, or asks for check=True."""

    def call(
        *arguments: str, check: bool = False, timeout: float = 60, through: tuple[str, ...] = ()
    ) -> subprocess.CompletedProcess[str]:
        return run_cli(host, *arguments, check=check, timeout=timeout, through=through)

    return call


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show the logs of the daemons and of the engine with a test that failed."""
    report = yield
    if report.failed:
        for log in item.stash.get(LOGS, []):
            title, text = log()
            report.sections.append((f"log of {title}", text))
    return report
