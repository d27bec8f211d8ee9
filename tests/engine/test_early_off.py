"""Where the early watch or the hold cannot work, containers get their networks at `start`, and it is said."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.engine.containers import addresses, run
from tests.engine.daemons import start_daemon
from tests.hosts import wait_until

if TYPE_CHECKING:
    from tests.engine.daemons import Cli
    from tests.hosts import Host

NO_PTRACE = ("setpriv", "--bounding-set=-sys_ptrace", "--inh-caps=-sys_ptrace")
NO_CGROUPS = (
    *("unshare", "--mount", "--propagation=slave"),
    *("/bin/sh", "-c", 'mount -t tmpfs none /sys/fs/cgroup && exec "$0" "$@"'),
)


@pytest.mark.parametrize(
    ("through", "what", "why"),
    [
        (NO_PTRACE, "hold", "CAP_SYS_PTRACE is missing"),
        (NO_CGROUPS, "early watch", "no cgroup hierarchy is mounted here"),
    ],
    ids=["no ptrace", "no cgroups"],
)
def test_off(host: Host, cli: Cli, through: tuple[str, ...], what: str, why: str) -> None:
    """The daemon says once what is off and why, attaches all the same, and `status` and `doctor` show it."""
    one = start_daemon(host, through=through)
    one.wait_event("ready")
    run(host, "web")
    wait_until(lambda: addresses(host, "web"), 20, "its address", one.program.text)
    assert [event["reason"] for event in one.log() if event["event"] == f"{what} off"] == [why]
    assert not [event for event in one.log() if event["event"] == "released"]
    assert f"{what} off: {why}" in cli("status").stdout.splitlines()
    assert json.loads(cli("status", "-o", "json").stdout)["daemon"]["pulse"]["off"] == {what: why}
    told = json.loads(cli("doctor", "-o", "json").stdout)["findings"]
    finding = next(one for one in told if one["subject"] == what)
    assert (finding["level"], finding["what"].startswith(f"off: {why}"), bool(finding["mend"])) == ("warn", True, True)
