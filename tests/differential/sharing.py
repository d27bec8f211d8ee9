"""What a process does that shares a store of host-local with others."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from dockercni.cni import ExecRunner, PluginCall, parse_result
from dockercni.plugins.dispatch import Dispatch
from tests.differential.side import EXECUTABLES

ROUNDS = 25


def conf(directory: Path | str, **ipam: Any) -> dict[str, Any]:
    """A network with 62 addresses of IPv4, and a second set of IPv6."""
    ranges = [[{"subnet": "10.1.0.0/26"}], [{"subnet": "fd00::/64"}]]
    own = {"type": "host-local", "ranges": ranges, "dataDir": str(directory), **ipam}
    return {"cniVersion": "1.0.0", "name": "net", "type": "host-local", "ipam": own}


def environment(verb: str, container: str) -> dict[str, str]:
    """The CNI_ variables of an attachment."""
    names = {"COMMAND": verb, "CONTAINERID": container, "NETNS": "/nowhere", "IFNAME": "eth0", "PATH": str(EXECUTABLES)}
    return {f"CNI_{key}": value for key, value in names.items()}


def worker(number: int, directory: str) -> dict[str, list[str]]:
    """Attach and detach; every second process by the executable. Returns what is held at the end."""
    runner = Dispatch(ExecRunner([EXECUTABLES]))
    backend = "exec" if number % 2 else "builtin"
    config = conf(directory)
    held: dict[str, list[str]] = {}

    def run(verb: str, container: str) -> Any:
        return runner.run(PluginCall("host-local", verb, config, environment(verb, container), backend))

    for step in range(ROUNDS):
        container = f"p{number}-{step}"
        result = parse_result(run("ADD", container), "1.0.0")
        held[container] = [str(ip.address.ip) for ip in result.ips]
        if step % 3 == 2:
            gone = next(iter(held))
            run("DEL", gone)
            del held[gone]
        if len(held) > 6:
            gone = next(iter(held))
            run("DEL", gone)
            del held[gone]
        run("CHECK", container)
    return held


def release(directory: str, held: dict[str, list[str]]) -> None:
    """Detach all that a worker holds at its end."""
    runner = Dispatch(ExecRunner([EXECUTABLES]))
    config = conf(directory)
    for container in held:
        runner.run(PluginCall("host-local", "DEL", config, environment("DEL", container), "builtin"))


if __name__ == "__main__":
    while True:  # until it is killed
        release(sys.argv[2], worker(int(sys.argv[1]), sys.argv[2]))
