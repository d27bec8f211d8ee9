"""Death by SIGKILL between every two steps of ADD, DEL and roll-back: one sync converges."""

from __future__ import annotations

import signal
from itertools import product
from typing import TYPE_CHECKING

import pytest

from tests.chaos import crash, orders
from tests.chaos.checker import complaints
from tests.chaos.wanted import NETWORKS, Wanted, configure
from tests.engine.daemons import run_cli
from tests.hosts import wait_until, wipe

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.engine.daemons import Daemon
    from tests.hosts import Host, Outside

WANTED = {"one": Wanted(("alpha",), (8081,))}
STRIPES = 6  # so that several workers share the points
MOST = 200
SETTINGS_FILE = "/etc/dockercni/dockercni.toml"
SETTINGS = f'cni-bin-dir = "{orders.SEARCH}"\nplugin-timeout = "10s"\nattach-running = true\n'

pytestmark = pytest.mark.timeout(600)
STRIPE = [pytest.param(stripe, marks=pytest.mark.point if stripe else pytest.mark.slow) for stripe in range(STRIPES)]


@pytest.fixture
def obedient(host: Host) -> orders.Orders:
    """The networks, behind plugins that obey orders."""
    configure(host)
    host.write(SETTINGS_FILE, f'{SETTINGS}backend = "exec"\n')
    return orders.Orders(host)


@pytest.mark.parametrize("backend", ["exec", "builtin"])
@pytest.mark.parametrize("stripe", STRIPE)
def test_add_and_del(host: Host, outside: Outside, obedient: orders.Orders, stripe: int, backend: str) -> None:
    """Killed before any step of an ADD or DEL, by executables or in process, a sync is mended by the next."""
    host.write(SETTINGS_FILE, f'{SETTINGS}backend = "{backend}"\n')
    problems: list[str] = []
    for at in _points(stripe):
        WANTED["one"].run(host, "one")
        adding = _crash(host, outside, at, "ADD", problems)
        host.docker("rm", "--force", "one")
        deleting = _crash(host, outside, at, "DEL", problems)
        if not (adding or deleting):
            break
    assert not problems, "\n".join(problems)


@pytest.mark.slow
def test_steps_in_process_are_seen(host: Host, outside: Outside, obedient: orders.Orders) -> None:
    """What a native ADD does to links, rules and leases is told step by step, so that it can die before each."""
    host.write(SETTINGS_FILE, f'{SETTINGS}backend = "builtin"\n')
    WANTED["one"].run(host, "one")
    crash.sync(host)
    told = " ".join(crash.steps(host))
    for step in ("Netlink._send", "apply", "last_reserved_ip", "os.rename"):
        assert step in told, step


@pytest.mark.parametrize("backend", ["exec", "auto"])
@pytest.mark.parametrize("stripe", STRIPE)
def test_roll_back(host: Host, outside: Outside, obedient: orders.Orders, stripe: int, backend: str) -> None:
    """Killed before any step of an ADD whose last plugin fails, or of its roll-back, a sync is mended by the next.

    With "auto" bridge and portmap are served in process, and the last plugin, which names a backend, is not.
    """
    host.write(SETTINGS_FILE, f'{SETTINGS}backend = "{backend}"\n')
    firewall = '{"type": "firewall", "backend": "iptables"}'
    for network in NETWORKS:
        conflist = network.conflist().replace('{"type": "firewall"}', firewall)
        host.write(f"/etc/cni/net.d/{network.name}.conflist", conflist)
    problems: list[str] = []
    for at in _points(stripe):
        WANTED["one"].run(host, "one")
        obedient.give("firewall.ADD.after.fail")
        died = _crash(host, outside, at, "roll-back", problems, obedient)
        host.docker("rm", "--force", "one")
        run_cli(host, "sync", check=False, timeout=60)
        if not died:
            break
    assert not problems, "\n".join(problems)


@pytest.mark.slow
@pytest.mark.parametrize("verb", ["ADD", "DEL"])
def test_daemon_dies_under_a_plugin(
    host: Host, outside: Outside, obedient: orders.Orders, daemon: Callable[..., Daemon], verb: str
) -> None:
    """A plugin that outlives its daemon finishes undisturbed, and a sync that waits for it converges."""
    WANTED["one"].run(host, "one")
    begin, end = ("start", "kill") if verb == "ADD" else ("kill", "start")
    host.docker(end, "one", check=False)
    run_cli(host, "sync", check=True, timeout=60)
    problems: list[str] = []
    for plugin, moment in product(orders.PLUGINS, ("before", "after")):
        running = daemon()
        order = obedient.give(f"{plugin}.{verb}.{moment}.block")
        host.docker(begin, "one")
        reached = obedient.wait_reached(order)
        running.kill()
        repairing = host.popen(*crash.SYNC, env=crash.environment())
        reached.unlink()
        code = repairing.process.wait(60)
        found = [*complaints(host, outside, WANTED), *([f"sync: exit code {code}"] if code else [])]
        if found:
            problems += [f"{order.name}:", *(f"    {line}" for line in found), repairing.text()]
        host.docker(end, "one")
        run_cli(host, "sync", check=False, timeout=60)
    assert not problems, "\n".join(problems)


@pytest.mark.slow
@pytest.mark.parametrize("order", ["bridge.ADD.after.hang", "portmap.ADD.before.hang", "firewall.DEL.before.hang"])
def test_plugin_hangs_without_its_daemon(
    host: Host, outside: Outside, obedient: orders.Orders, daemon: Callable[..., Daemon], order: str
) -> None:
    """A plugin that hangs, and whose daemon was killed, is killed by a sync once its time is over; it converges."""
    running = daemon()
    WANTED["one"].run(host, "one")
    running.wait_event("ADD")
    given = obedient.give(order)
    host.docker(*(("kill", "one") if ".DEL." in order else ("restart", "--time=0", "one")))
    wait_until(lambda: not given.exists(), 20, f"a plugin that obeys {order}")
    running.kill()
    repaired = run_cli(host, "sync", check=False, timeout=60)
    assert complaints(host, outside, WANTED) == [], repaired.stdout
    assert repaired.returncode == 0, repaired.stdout


def _points(stripe: int) -> range:
    return range(1 + stripe, MOST, STRIPES)


def _crash(
    host: Host, outside: Outside, at: int, what: str, problems: list[str], obedient: orders.Orders | None = None
) -> bool:
    """One sync that dies before that step, and one that has to converge; whether the first one had so many steps."""
    died = crash.sync(host, at).returncode == -signal.SIGKILL
    step = (crash.steps(host) or ["0 none"])[-1]
    if obedient:
        obedient.withdraw()
    repaired = run_cli(host, "sync", check=False, timeout=60)
    found = complaints(host, outside, WANTED)
    found += [f"lock: {path.name} too much" for path in host.path("/run/dockercni/lock").glob("*")]
    if repaired.returncode:
        found.append(f"sync: exit code {repaired.returncode}: {repaired.stdout}{repaired.stderr}")
    if found:
        problems += [f"{what}, killed before step {step}:", *(f"    {line}" for line in found)]
        _start_over(host)
    return died


def _start_over(host: Host) -> None:
    if left := host.docker("ps", "--all", "--quiet").split():
        host.docker("rm", "--force", *left)
    settings = host.read(SETTINGS_FILE)
    wipe(host)
    configure(host)
    host.write(SETTINGS_FILE, settings)
