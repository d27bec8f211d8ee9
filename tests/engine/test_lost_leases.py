"""A lease of host-local that somebody deleted while its container lives."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.engine.containers import address, network, run, wait_attached, wait_clean
from tests.hosts import wait_until

if TYPE_CHECKING:
    from tests.engine.daemons import Cli, Start
    from tests.hosts import Host

STORE = "/var/lib/cni/networks/lan"
WORDS = f"the lease of 10.79.4.2 in {STORE}"


def owner(host: Host, lease: str = "10.79.4.2") -> str:
    """The container whose lease it is; "" without one."""
    path = host.path(f"{STORE}/{lease}")
    return path.read_text().split()[0] if path.exists() else ""


def comes_back(host: Host, container_id: str) -> bool:
    """Whether the lease is soon there again after it was deleted, which the daemon notices of one that it has seen."""
    lease = host.read(f"{STORE}/10.79.4.2")
    host.run("sh", "-c", f"rm {STORE}/*")  # also what says which address was given last
    try:
        return wait_until(lambda: owner(host) == container_id, 2, "the lease")
    except TimeoutError:
        host.write(f"{STORE}/10.79.4.2", lease)
        return False


def test_the_daemon_puts_it_back(host: Host, daemon: Start) -> None:
    """It is back within a second, in place, and nobody else gets the address."""
    network(host, "lan", "10.79.4.0/24")
    running = daemon()
    web = run(host, "web")
    assert wait_attached(host, "web") == "10.79.4.2"
    running.wait_event("ADD", container="web")
    seen = len(running.log())
    wait_until(lambda: comes_back(host, web), 20, "the lease")
    repaired = running.wait_event("REPAIR", container="web", after=seen)
    assert repaired["reason"] == f"missing: {WORDS}"
    run(host, "db")
    assert wait_attached(host, "db") == "10.79.4.3"
    assert not [one for one in running.log()[seen:] if one["event"] in {"ADD", "DEL"} and one.get("container") == "web"]
    host.docker("rm", "--force", "web", "db")
    wait_clean(host)


@pytest.mark.parametrize("backend", ["builtin", "exec"])
def test_commands_agree(host: Host, cli: Cli, backend: str) -> None:
    """Without a daemon every command that judges names it; sync puts it back."""
    network(host, "lan", "10.79.4.0/24")
    web = run(host, "web")
    cli("sync", f"--backend={backend}", check=True)
    host.run("rm", "-r", STORE)
    judged = ((("sync", "--dry-run"), 3), (("status",), 1), (("check",), 3), (("doctor",), 1), (("explain", "web"), 0))
    for command, code in judged:
        done = cli(*command)
        assert (done.returncode, WORDS in done.stdout) == (code, True), (command, done.stdout)
    assert f"missing: {WORDS}" in cli("ps").stdout
    assert "REPAIR web lan eth0" in cli("sync", check=True).stdout
    assert owner(host) == web
    assert cli("check").returncode == 0


def test_somebody_else_has_it_by_now(host: Host, cli: Cli) -> None:
    """An address that the store has given to another container is let go, and the container gets another one."""
    network(host, "lan", "10.79.4.0/24")
    run(host, "web")
    cli("sync", check=True)
    host.write(f"{STORE}/10.79.4.2", "another\r\neth0")
    assert f"{WORDS}, which is another eth0's" in cli("check").stdout
    assert "ADD web lan eth0 10.79.4.3/24" in cli("sync", check=True).stdout
    assert address(host, "web") == "10.79.4.3"
    assert owner(host) == "another"
