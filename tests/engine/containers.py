"""What the tests of this folder do with containers and network configurations, in few words."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from tests.hosts import IMAGE, NoAnswer, leftovers, wait_until
from tests.hosts.programs import PLUGINS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tests.hosts import Host, Place

NOOP_DIR = PLUGINS
NOOP_RECORD = "/run/private/noop.log"
BIN_DIRS = f"{NOOP_DIR}:/opt/cni/bin:/usr/lib/cni:/usr/libexec/cni"


def run(host: Host, name: str, *flags: str, command: Sequence[str] = ()) -> str:
    """`docker run --detach --network none`; the container's id."""
    return host.docker("run", "--detach", f"--name={name}", "--network=none", *flags, IMAGE, *command)


def addresses(host: Host, name: str, ifname: str = "eth0") -> list[str]:
    """The IPv4 addresses of an interface inside a running container, with their prefix lengths."""
    shown = host.container(name).run("ip", "-json", "-4", "address", "show", "dev", ifname, check=False)
    if shown.returncode:
        return []
    return [f"{info['local']}/{info['prefixlen']}" for link in json.loads(shown.stdout) for info in link["addr_info"]]


def address(host: Host, name: str, ifname: str = "eth0") -> str:
    """The one IPv4 address of an interface inside a running container, without its prefix length."""
    (only,) = addresses(host, name, ifname)
    return only.partition("/")[0]


def wait_attached(host: Host, name: str, ifname: str = "eth0", timeout: float = 20) -> str:
    """Wait until the container has an address on the interface, and return it without its prefix length."""
    wait_until(lambda: addresses(host, name, ifname), timeout, f"an address on {ifname} of {name}")
    return address(host, name, ifname)


def wait_clean(host: Host, timeout: float = 20) -> None:
    """Wait until nothing of any container is left."""
    wait_until(lambda: not leftovers(host), timeout, "no leftovers", lambda: leftovers(host))


def settings(host: Host, **values: str) -> None:
    """Write the settings file, which daemon and commands read alike."""
    lines = [f"{key.replace('_', '-')} = {json.dumps(value)}\n" for key, value in values.items()]
    host.write("/etc/dockercni/dockercni.toml", "".join(lines))


def network(
    host: Host,
    name: str,
    subnet: str,
    *,
    file: str = "",
    before: Sequence[Mapping[str, Any]] = (),
    more: Sequence[Mapping[str, Any]] = (),
    **bridge: Any,
) -> None:
    """Configure a network: `before`, bridge `cni-NAME` with host-local, portmap and firewall, then `more` plugins."""
    first = {
        "type": "bridge",
        "bridge": f"cni-{name}",
        "isGateway": True,
        "ipMasq": True,
        "hairpinMode": True,
        "ipam": {"type": "host-local", "ranges": [[{"subnet": subnet}]], "routes": [{"dst": "0.0.0.0/0"}]},
        **bridge,
    }
    portmap = {"type": "portmap", "capabilities": {"portMappings": True}}
    plugins = [*before, first, portmap, {"type": "firewall"}, *more]
    conflist(host, name, plugins, file=file)


def conflist(host: Host, name: str, plugins: Sequence[Mapping[str, Any]], *, file: str = "") -> None:
    """Configure a network of just these plugins."""
    host.write(
        f"/etc/cni/net.d/{file or f'10-{name}.conflist'}",
        json.dumps({"cniVersion": "1.0.0", "name": name, "plugins": list(plugins)}),
    )


def noop(**says: Any) -> dict[str, Any]:
    """The plugin that records its calls, and does per verb what it is told: noop(ADD={"hang": True}).

    The settings have to name BIN_DIRS.
    """
    return {"type": "noop", "record": NOOP_RECORD, "noop": says}


def noop_calls(host: Host) -> list[str]:
    """The verbs that the no-op plugin was called with so far."""
    path = host.path(NOOP_RECORD)
    return [json.loads(line)["verb"] for line in path.read_text().splitlines()] if path.exists() else []


def request(place: Place, protocol: str, where: str, port: int, timeout: float) -> bytes:
    """One request over "tcp" or "udp", or NoAnswer."""
    return {"tcp": place.tcp_request, "udp": place.udp_request}[protocol](where, port, timeout)


def ask(place: Place, protocol: str, where: str, port: int, timeout: float = 10) -> bytes:
    """What the server answers; a server that is not listening yet is asked again."""

    def tried() -> bytes:
        try:
            return request(place, protocol, where, port, timeout=2)
        except NoAnswer as problem:
            failures.append(str(problem))
            return b""

    failures: list[str] = []
    return wait_until(tried, timeout, f"an answer from {protocol} {where}:{port}", lambda: failures)
