"""Our plugins as executables: what each start costs."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence

from tests.bench.attaching import EXECUTABLES, run, timed
from tests.bench.samples import Report

OURS = (sys.executable, "-m", "dockercni.plugins")


def cold(report: Report, runs: int) -> None:
    """VERSION, ADD and DEL of bridge with masquerade and host-local, by a process each."""
    sides: dict[str, tuple[Sequence[str], str, str]] = {
        "builtin": ((*OURS, "bridge"), "cnin", "10.11.0.0/16"),
        "executables": ((str(EXECUTABLES / "bridge"),), "cnie", "10.12.0.0/16"),
    }
    for who in sides:
        run("ip", "netns", "add", who)
    for turn in range(runs + 1):
        for who, (argv, bridge, subnet) in sides.items():
            ipam = {"type": "host-local", "ranges": [[{"subnet": subnet}]]}
            conf = {"cniVersion": "1.0.0", "name": who, "type": "bridge", "bridge": bridge, "isGateway": True}
            text = json.dumps({**conf, "ipMasq": True, "ipam": ipam})
            for verb in ("VERSION", "ADD", "DEL"):
                took = timed(lambda: _call(argv, verb, who, text))  # noqa: B023
                if turn:
                    report.add(f"{verb} of bridge by a process", who, took)
    report.within("VERSION of bridge by a process", "builtin", 60)


def _call(argv: Sequence[str], verb: str, netns: str, conf: str) -> None:
    environment = {
        "CNI_COMMAND": verb, "CNI_CONTAINERID": "c1", "CNI_NETNS": f"/run/netns/{netns}", "CNI_IFNAME": "eth0",
        "CNI_PATH": str(EXECUTABLES), "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
    }  # fmt: skip
    subprocess.run(argv, env=environment, input=conf, text=True, check=True, stdout=subprocess.DEVNULL)
