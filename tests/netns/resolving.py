"""A daemon that does nothing but to tell the resolver of containers: `python -m tests.netns.resolving JSON`.

The containers are namespaces of these names; prints the ports of each, and "ready".
"""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path

from dockercni.linux.netns import Namespace
from dockercni.resolver.client import ResolverClient
from dockercni.resolver.messages import Names, OnNetwork

WEB, DB = "1" * 64, "2" * 64


def main(said: str) -> None:
    """Serve until it is killed."""
    orders = json.loads(said)
    client = ResolverClient(Path(orders["run"]))
    client.start(20)
    ports = {}
    containers = [(WEB, "web", "10.99.0.2"), (DB, "db", "10.99.0.3")]
    others = [(f"{number:064x}", f"c{number}", f"10.98.0.{number + 1}") for number in range(orders["extra"])]
    for container_id, name, address in containers + others:
        aliases = ["postgres"] if name == "db" else []
        on = [OnNetwork("net", [address], aliases)]
        servers = orders["servers"].get(container_id, [])
        client.set_names(Names(container_id, [name, container_id[:12]], on, servers=servers))
        with Namespace.open(f"/run/netns/{name if name in {'web', 'db'} else 'web'}") as namespace:
            found = client.listen(container_id, namespace)
        ports[container_id] = {"udp": found.udp, "tcp": found.tcp}
    client.complete()
    sys.stdout.write(f"{json.dumps(ports)}\nready\n")
    sys.stdout.flush()
    signal.pause()


if __name__ == "__main__":
    main(sys.argv[1])
