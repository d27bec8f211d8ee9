"""The faults of the chaos tests: that each does what it says, and that nothing of it stays."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from tests.chaos import damage, facts
from tests.chaos.damage import HOST, Claimant, Crowded
from tests.hosts import wait_until

if TYPE_CHECKING:
    from tests.hosts import Host

_THREADS = """
import sys, threading
for _ in sys.stdin:
    try:
        threading.Thread(target=print, args=("started",)).start()
    except RuntimeError:
        print("refused")
    sys.stdout.flush()
"""


def test_damage_to_the_host(host: Host) -> None:
    """Each kind of damage to the host's half shows in the kernel, and is none where there is no bridge."""
    show = "ip -details address; bridge link; sysctl net.ipv4.ip_forward"
    for what in HOST:
        damage.break_host(host, what, "br77")
        host.run("/bin/sh", "-ec", "ip link add br77 type bridge; ip link add p77 type veth peer name q77")
        host.run(
            "/bin/sh",
            "-ec",
            "ip link set p77 master br77 up; ip link set br77 up; ip address add 10.77.0.1/24 dev br77",
        )
        host.run("sysctl", "-qw", "net.ipv4.ip_forward=1")
        before = host.run("/bin/sh", "-c", show).stdout
        damage.break_host(host, what, "br77")
        assert host.run("/bin/sh", "-c", show).stdout != before, what
        host.run("/bin/sh", "-c", "ip link delete br77; ip link delete q77", check=False)


def test_ports_that_the_administrator_closed(host: Host) -> None:
    """A rule of the administrator closes a port unless it stands behind the RETURN of older engines."""
    damage.close_port(host, 8001, where="-I")
    host.run("iptables", "-A", "DOCKER-USER", "-j", "RETURN")
    damage.close_port(host, 8002, where="-A")
    saved = list(facts.saved_rules(host))
    assert len(damage.administrators(saved)) == 2
    assert damage.closed(saved) == {8001}


def test_claim(host: Host) -> None:
    """A claimant lives in a cgroup with another's id, in a network namespace of its own, and leaves nothing."""
    claimant = Claimant(host, "c" * 64)
    groups = Path(f"/proc/{claimant.process.pid}/cgroup").read_text()
    assert f"/{host.name}/claims/{'c' * 64}" in groups
    assert claimant.close() == []
    assert not claimant.process.running
    assert not list(damage.CGROUPS.glob(f"*/{host.name}/claims/{'c' * 64}"))


def test_crowd(host: Host) -> None:
    """While the limit is on no thread can be started; afterwards it can."""
    crowded = Crowded(host)
    script = host.path("/run/private/threads.py")
    script.write_text(_THREADS)
    host.run("mkfifo", "/run/private/threads")
    process = host.popen("/bin/sh", "-c", f"exec {sys.executable} -u /run/private/threads.py <>/run/private/threads")
    wait_until(lambda: "threads.py" in Path(f"/proc/{process.pid}/cmdline").read_text(), 10, "the process")
    crowded.confine(process.pid)
    for on, answer in ((False, "started"), (True, "refused"), (False, "started")):
        crowded.limit(on=on)
        said = process.text()
        host.path("/run/private/threads").write_text("go\n")
        wait_until(lambda said=said, answer=answer: answer in process.text()[len(said) :], 10, answer, process.text)
