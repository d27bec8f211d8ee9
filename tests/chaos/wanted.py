"""What a test wants of a host: its networks, and what each container is to have. Known by tests and checker alike."""

from __future__ import annotations

import json
from dataclasses import dataclass
from ipaddress import IPv4Network
from typing import TYPE_CHECKING

from tests.hosts import IMAGE, serve_tcp

if TYPE_CHECKING:
    from tests.hosts import Host

SERVED = 80  # the port that each container's own server listens on


@dataclass(frozen=True)
class Network:
    """A CNI network of bridge (masquerading), host-local, portmap and firewall."""

    name: str
    bridge: str
    subnet: IPv4Network

    @property
    def gateway(self) -> str:
        """The bridge's own address."""
        return str(self.subnet[1])

    def conflist(self) -> str:
        """Its configuration file."""
        bridge = {
            "type": "bridge",
            "bridge": self.bridge,
            "isGateway": True,
            "ipMasq": True,
            "hairpinMode": True,
            "capabilities": {"ips": True, "mac": True},
            "ipam": {
                "type": "host-local",
                "ranges": [[{"subnet": str(self.subnet)}]],
                "routes": [{"dst": "0.0.0.0/0"}],
            },
        }
        portmap = {"type": "portmap", "capabilities": {"portMappings": True}}
        return json.dumps(
            {"cniVersion": "1.0.0", "name": self.name, "plugins": [bridge, portmap, {"type": "firewall"}]}
        )


NETWORKS = tuple(
    Network(name, f"cni-{name}", IPv4Network(subnet))
    for name, subnet in (("alpha", "10.61.0.0/24"), ("beta", "10.62.0.0/24"), ("gamma", "10.63.0.0/24"))
)


@dataclass(frozen=True)
class Wanted:
    """What one container is to have while it runs; its ports are on the first of its networks."""

    networks: tuple[str, ...]
    ports: tuple[int, ...] = ()
    restart: str = "no"

    @property
    def interfaces(self) -> dict[str, str]:
        """The network of each interface."""
        return {f"eth{number}": network for number, network in enumerate(self.networks)}

    def run(self, host: Host, name: str, *, check: bool = True) -> str:
        """Have the engine run it."""
        ports = [f"--publish={port}:{SERVED}" for port in self.ports]
        label = f"--label=dockercni.networks={','.join(self.networks)}"
        options = ("--detach", f"--name={name}", "--network=none", f"--restart={self.restart}", label, *ports)
        return host.docker("run", *options, IMAGE, *serve_tcp(SERVED), check=check)


def configure(host: Host) -> None:
    """Write the configurations of NETWORKS."""
    for network in NETWORKS:
        host.write(f"/etc/cni/net.d/{network.name}.conflist", network.conflist())
