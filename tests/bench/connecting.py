"""New connections to a published port, and outward, beside more and more ports that are published."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

from dockercni.cni.runner import PluginCall
from dockercni.plugins import portmap, ruleset
from dockercni.plugins.contract import Request
from dockercni.plugins.dispatch import Backend
from tests.bench.attaching import EXECUTABLES, attachment, network, run, runtime
from tests.bench.samples import Report

SIZES = (10, 100, 1000, 2000)
CONNECTIONS = 200
SERVER = """
import socket, sys
server = socket.create_server(("", int(sys.argv[1])), backlog=1024)
print("serving", flush=True)
while True:
    server.accept()[0].close()
"""
CLIENT = """
import json, socket, sys, time
took = []
for _ in range(int(sys.argv[3])):
    began = time.perf_counter()
    client = socket.create_connection((sys.argv[1], int(sys.argv[2])), 5)
    took.append((time.perf_counter() - began) * 1e3)
    client.close()
print(json.dumps(took))
"""
WIRING = """
ip netns add world
ip link add out0 type veth peer name eth0 netns world
ip address add 198.51.100.1/24 dev out0
ip link set out0 up
ip -n world link set lo up
ip -n world address add 198.51.100.2/24 dev eth0
ip -n world link set eth0 up
sysctl -qw net.ipv4.ip_forward=1
"""
PORT = 9001
BACKENDS: dict[str, Backend] = {"builtin": "builtin", "executables": "exec"}


def published(report: Report, runs: int, *, who: str) -> None:
    """A container of one engine, whose port is published behind those of a crowd of that engine.

    In a host without the other engine, since every packet passes the rules of both.
    """
    run("sh", "-ec", WIRING)
    outside = _serve("world", 7000)
    net, serving = network(who, "cni0", "10.11.0.0/16"), runtime(BACKENDS[who])
    crowd = 0
    for size in SIZES:
        FILL[who](crowd, size - 1)
        crowd = size - 1
        run("ip", "netns", "add", who)
        conf = attachment(f"{who}{size}", who, PORT)
        serving.add(net, conf)
        inside = _serve(who, 80)
        for _ in range(max(1, runs // 8)):
            report.add(f"connection in, {size} ports", who, *_connect("world", "198.51.100.1", PORT))
            report.add(f"connection out, {size} ports", who, *_connect(who, "198.51.100.2", 7000))
        inside.kill()
        serving.delete(net, conf)
        run("ip", "netns", "delete", who)
    outside.kill()
    for way in ("in", "out"):
        bound = 1.2 if who == "builtin" else float("inf")
        report.grow(f"connection {way}, 2000 ports", who, f"connection {way}, 10 ports", bound)


def _serve(netns: str, port: int) -> subprocess.Popen[str]:
    command = ["ip", "netns", "exec", netns, sys.executable, "-c", SERVER, str(port)]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert server.stdout
    assert server.stdout.readline() == "serving\n"
    return server


def _connect(netns: str, address: str, port: int) -> list[float]:
    command = ["ip", "netns", "exec", netns, sys.executable, "-c", CLIENT, address, str(port), str(CONNECTIONS)]
    took: list[float] = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    return took[5:]


def _fill_native(present: int, wanted: int) -> None:
    """Publish ports as the built-in portmap does, for containers that are not there."""
    for number in range(present, wanted):
        address = f"10.11.{100 + number // 200}.{number % 200 + 2}/16"
        previous = {"cniVersion": "1.0.0", "ips": [{"address": address}]}
        mapping = {"hostPort": 10000 + number, "containerPort": 80, "protocol": "tcp"}
        conf = {"name": "builtin", "runtimeConfig": {"portMappings": [mapping]}, "prevResult": previous}
        call = PluginCall("portmap", "ADD", conf, {})
        request = Request(call, conf, "builtin", "1.0.0", f"crowd{number}", "", "eth0", runtime("builtin")._runner)
        attached: Any = request.previous
        ruleset.add(portmap.elements(ruleset.owner(request), request.fields, attached))


def _fill_executables(present: int, wanted: int) -> None:
    """Publish ports by the rules that the portmap executable makes, all in one iptables-restore.

    It would take minutes to start it so often; what it made for one container is the pattern for the others.
    """
    if present == 0:
        _call_portmap(0)
        present = 1
    saved = subprocess.run(["iptables-save", "-t", "nat"], check=True, stdout=subprocess.PIPE, text=True).stdout
    (jump,) = [line for line in saved.splitlines() if "crowd0\\" in line]
    name = jump.split()[-1]
    pattern = [jump, *(line for line in saved.splitlines() if line.startswith(f"-A {name} "))]
    lines = ["*nat"]
    for number in range(present, wanted):
        chain = f"CNI-DN-{number:021x}"
        address = f"10.11.{100 + number // 200}.{number % 200 + 2}"
        lines.append(f":{chain} - [0:0]")
        for line in pattern:
            changed = line.replace(name, chain).replace("10.11.100.2", address).replace("10000", str(10000 + number))
            lines.append(changed.replace("crowd0", f"crowd{number}"))
    run("iptables-restore", "--noflush", stdin="\n".join([*lines, "COMMIT", ""]))


def _call_portmap(number: int) -> None:
    previous = {"cniVersion": "1.0.0", "ips": [{"address": f"10.11.100.{number + 2}/16"}]}
    mapping = {"hostPort": 10000 + number, "containerPort": 80, "protocol": "tcp"}
    conf = {
        "cniVersion": "1.0.0", "name": "executables", "type": "portmap", "runtimeConfig": {"portMappings": [mapping]},
        "prevResult": previous,
    }  # fmt: skip
    environment = {
        "CNI_COMMAND": "ADD", "CNI_CONTAINERID": f"crowd{number}", "CNI_NETNS": "/run/netns/world",
        "CNI_IFNAME": "eth0", "CNI_PATH": str(EXECUTABLES),
    }  # fmt: skip
    runtime("exec")._runner.run(PluginCall("portmap", "ADD", conf, environment, "exec"))


FILL = {"builtin": _fill_native, "executables": _fill_executables}
