"""ADD and DEL, inside a private host: built-in, by executables, by netavark."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dockercni.cni import Cache, ExecRunner, NetworkList, PluginTimeout, Runtime, RuntimeConf, parse_list
from dockercni.cni.runner import PluginCall
from dockercni.plugins.dispatch import Backend, Dispatch
from tests.bench.samples import Ratio, Report

EXECUTABLES = Path("/usr/lib/cni")
NETAVARK = Path("/usr/lib/podman/netavark")
BOUND = 120.0  # seconds for one plugin with thousands of ports
PAUSE = 0.06  # seconds; the kernel frees links and rules behind the back of whoever removed them


def network(name: str, bridge: str, subnet: str, *more: dict[str, Any]) -> NetworkList:
    """Bridge with masquerade and host-local, portmap, firewall; or `more` behind the bridge."""
    ipam = {"type": "host-local", "ranges": [[{"subnet": subnet}]], "routes": [{"dst": "0.0.0.0/0"}]}
    main = {"type": "bridge", "bridge": bridge, "isGateway": True, "ipMasq": True, "ipam": ipam}
    behind = more or ({"type": "portmap", "capabilities": {"portMappings": True}}, {"type": "firewall"})
    return parse_list(json.dumps({"cniVersion": "1.0.0", "name": name, "plugins": [main, *behind]}).encode())


def attachment(name: str, netns: str, port: int, ifname: str = "eth0", ports: int = 1) -> RuntimeConf:
    """A container with one published port, or with several from `port` on."""
    mappings = [{"hostPort": each, "containerPort": 80, "protocol": "tcp"} for each in range(port, port + ports)]
    return RuntimeConf(name, f"/run/netns/{netns}", ifname, capability_args={"portMappings": mappings}, owner={})


def runtime(engine: Backend, patience: float = 60) -> Runtime:
    """A runtime whose plugins are served by one engine; each has `patience` seconds."""
    return Runtime(Dispatch(ExecRunner([EXECUTABLES], patience), engine), Cache(Path("/var/lib/cni")))


def timed(work: Callable[[], object]) -> float:
    """How many milliseconds `work` takes, after a pause."""
    time.sleep(PAUSE)
    began = time.perf_counter()
    work()
    return (time.perf_counter() - began) * 1e3


def run(*argv: str, stdin: str = "") -> None:
    """A program, to its successful end."""
    subprocess.run(argv, input=stdin, text=True, check=True, stdout=subprocess.DEVNULL)


def chain(report: Report, runs: int) -> None:
    """ADD and DEL of bridge with masquerade, one published port, firewall."""
    sides = {"builtin": ("cnin", "10.11.0.0/16", 8081), "executables": ("cnie", "10.12.0.0/16", 8082)}
    engines: dict[str, Backend] = {"builtin": "builtin", "executables": "exec"}
    for who in (*sides, "netavark"):
        run("ip", "netns", "add", who)
    for turn in range(runs + 1):
        for who, (bridge, subnet, port) in sides.items():
            net, conf = network(who, bridge, subnet), attachment(f"{who}{turn}", who, port)
            serving = runtime(engines[who])
            _turn(report, turn, who, lambda: serving.add(net, conf), lambda: serving.delete(net, conf))  # noqa: B023
        if NETAVARK.exists():
            _turn(report, turn, "netavark", lambda: _netavark("setup"), lambda: _netavark("teardown"))
    report.compare("ADD", "builtin", "executables", 18)
    report.compare("DEL", "builtin", "executables", 8)
    if NETAVARK.exists():
        report.compare("ADD", "builtin", "netavark", 5)


def ports(report: Report, runs: int) -> None:
    """ADD and DEL with 1, 100 and 2,000 published ports.

    The executables do the last once, and only for as long as is worth waiting for: the time is then a lower bound.
    """
    sides: list[tuple[Backend, str, NetworkList]] = [
        ("builtin", "builtin", network("builtin", "cnin", "10.11.0.0/16")),
        ("exec", "executables", network("exec", "cnie", "10.12.0.0/16")),
    ]
    for engine, who, net in sides:
        run("ip", "netns", "add", who)
        runtime(engine).add(net, attachment("first", who, 80))
        runtime(engine).delete(net, attachment("first", who, 80))
    for number, turns in ((1, runs), (100, max(3, runs // 8)), (2000, max(3, runs // 8))):
        what = "1 port" if number == 1 else f"{number} ports"
        for turn in range(turns):
            for engine, who, net in sides if number < 2000 or not turn else sides[:1]:
                conf, serving = attachment(f"{engine}{turn}", who, 20000, ports=number), runtime(engine, BOUND)
                report.add(f"ADD, {what}", who, timed(lambda: _bounded(serving, net, conf)))  # noqa: B023
                report.add(f"DEL, {what}", who, timed(lambda: serving.delete(net, conf)))  # noqa: B023
    for what in ("100 ports", "2000 ports"):  # DEL by executables is no comparison: they only empty a chain
        report.compare(f"ADD, {what}", "builtin", "executables", 15)
    for verb in ("ADD", "DEL"):
        many, some = (report.samples[f"{verb}, {number} ports", "builtin"].median for number in (2000, 100))
        # linear: twenty times the ports take at most twenty times the time, and a third for what is noisy
        report.ratios.append(Ratio(f"{verb}, 2000 ports to 100", "builtin", "builtin", many / some, 27, most=True))


def _bounded(serving: Runtime, net: NetworkList, conf: RuntimeConf) -> None:
    try:
        serving.add(net, conf)
    except PluginTimeout:
        return


def _turn(report: Report, turn: int, who: str, add: Callable[[], object], delete: Callable[[], object]) -> None:
    up, down = timed(add), timed(delete)
    if turn:  # the first one imports modules, makes bridges and tables
        report.add("ADD", who, up)
        report.add("DEL", who, down)


def _netavark(verb: str) -> None:
    info = {
        "name": "bench", "id": "53ce4390f2adb1681eb1a90ec8b48c49c015e0a8d336c197637e7f65e365fa9e", "driver": "bridge",
        "network_interface": "nv0", "created": "2024-01-01T00:00:00Z", "internal": False, "ipv6_enabled": False,
        "dns_enabled": False, "subnets": [{"subnet": "10.13.0.0/16", "gateway": "10.13.0.1"}],
        "ipam_options": {"driver": "host-local"},
    }  # fmt: skip
    mapping = {"container_port": 80, "host_ip": "", "host_port": 8083, "protocol": "tcp", "range": 1}
    options = {
        "container_id": "5b" * 32, "container_name": "bench", "port_mappings": [mapping],
        "network_info": {"bench": info},
        "networks": {"bench": {"static_ips": ["10.13.0.2"], "interface_name": "eth0"}},
    }  # fmt: skip
    run(str(NETAVARK), "--config", "/run/netavark", verb, "/run/netns/netavark", stdin=json.dumps(options))


def host_local(report: Report, runs: int) -> None:
    """ADD and DEL of host-local alone."""
    conf = {"cniVersion": "1.0.0", "type": "host-local"}
    ipam = {"type": "host-local", "ranges": [[{"subnet": "10.14.0.0/16"}]]}
    engines: dict[str, Backend] = {"builtin": "builtin", "executables": "exec"}
    for turn in range(runs + 1):
        for who, engine in engines.items():
            runner = Dispatch(ExecRunner([EXECUTABLES]), engine)
            data = {**conf, "name": who, "ipam": ipam}
            for verb in ("ADD", "DEL"):
                environment = {
                    "CNI_COMMAND": verb, "CNI_CONTAINERID": f"c{turn}", "CNI_NETNS": "/run/netns/none",
                    "CNI_IFNAME": "eth0", "CNI_PATH": str(EXECUTABLES),
                }  # fmt: skip
                call = PluginCall("host-local", verb, data, environment, engine)
                took = timed(lambda: runner.run(call))  # noqa: B023
                if turn:
                    report.add(f"host-local {verb}", who, took)
    for verb in ("ADD", "DEL"):
        report.compare(f"host-local {verb}", "builtin", "executables", 5)
