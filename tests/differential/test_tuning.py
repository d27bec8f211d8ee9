"""tuning against the reference executable."""

from __future__ import annotations

from typing import Any

import pytest

from tests.differential import view
from tests.differential.twin import Twin

MAC = "02:11:22:33:44:55"
PREVIOUS = {
    "cniVersion": "1.0.0",
    "interfaces": [{"name": "br0", "mac": "02:00:00:00:00:01"}, {"name": "eth0", "sandbox": "/run/netns/c1"}],
    "ips": [{"address": "10.1.0.2/24", "interface": 1}],
    "dns": {"nameservers": ["10.1.0.1"]},
}
LINKS = "link set eth0 address 02:00:00:00:00:07 mtu 1400 txqueuelen 500"
BACKUP = "/run/cni/tuning/c1_eth0.json"


def conf(version: str = "1.0.0", **more: Any) -> dict[str, Any]:
    """A tuning plugin behind another one."""
    return {"cniVersion": version, "name": "net", "type": "tuning", "prevResult": PREVIOUS, **more}


def prepare(twin: Twin) -> None:
    """A container with an interface, one end of a pair."""
    twin.container()
    twin.both("ip", "-n", "c1", "link", "add", "eth0", "type", "veth", "peer", "name", "far")
    twin.both("ip", "-n", "c1", *LINKS.split())


KEYS: dict[str, dict[str, Any]] = {
    "nothing": {},
    "mac": {"mac": MAC},
    "mac-dashes": {"mac": "02-11-22-33-44-55"},
    "promisc": {"promisc": True},
    "mtu": {"mtu": 1300},
    "allmulti": {"allmulti": True},
    "allmulti-off": {"allmulti": False},
    "all": {"mac": MAC, "promisc": True, "mtu": 1300, "allmulti": True},
    "sysctl": {"sysctl": {"net.core.somaxconn": "500", "net/ipv4/conf/IFNAME/log_martians": "1"}},
    "args": {"args": {"cni": {"mac": MAC, "mtu": 1350, "promisc": True, "allmulti": True}}, "mtu": 1300},
    "args-sysctl": {"sysctl": {}, "args": {"cni": {"sysctl": {"net.core.somaxconn": "501"}}}},
    "runtime-mac": {"mac": "02:11:22:33:44:00", "runtimeConfig": {"mac": MAC}},
    "runtime-mac-and-args": {"runtimeConfig": {"mac": MAC}, "args": {"cni": {"mac": "02:11:22:33:44:01"}}},
    "case": {"MTU": 1300, "Promisc": True},
    "directory": {"mtu": 1300, "dataDir": "/run/elsewhere"},
}


@pytest.mark.parametrize("case", KEYS)
def test_keys(case: str) -> None:
    """Each key: result, state and backup after ADD, CHECK, and the state after DEL."""
    with Twin(*(["sysctl-ifname"] if case == "sysctl" else [])) as twin:
        prepare(twin)
        given = conf(**KEYS[case])
        twin.step("ADD", given)
        twin.compare_network("c1")
        twin.compare("backup", lambda host: view.files(host, "/run/cni"))
        twin.step("CHECK", given)
        twin.step("DEL", given)
        twin.compare_network("c1")
        twin.compare("backup", lambda host: view.files(host, "/run/cni"))
        twin.step("DEL", given)


@pytest.mark.parametrize("version", ["0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0"])
def test_versions(version: str) -> None:
    """The result is prevResult in the version of the configuration."""
    previous: dict[str, Any] = {**PREVIOUS, "cniVersion": version}
    if version in {"0.1.0", "0.2.0"}:
        previous = {"cniVersion": version, "ip4": {"ip": "10.1.0.2/24"}, "dns": {"nameservers": ["10.1.0.1"]}}
    with Twin() as twin:
        prepare(twin)
        twin.step(
            "ADD", {**conf(version, mac=MAC), "prevResult": previous}, args="IgnoreUnknown=1;MAC=02:11:22:33:44:99;A=b"
        )


FAILING: dict[str, dict[str, Any]] = {
    "no-prevResult": {"prevResult": None},
    "not-net": {"sysctl": {"kernel.hostname": "x"}},
    "out-of-net": {"sysctl": {"net.ipv4/../../kernel/hostname": "x"}},
    "bad-mac": {"mac": "nonsense"},
    "multicast-mac": {"mac": "01:00:00:00:00:01"},
    "negative-mtu": {"mtu": -1},
    "small-mtu": {"mtu": 10},
}
REFUSED_OTHERWISE = {
    "not-net": ["sysctl-not-net"],
    "out-of-net": ["file-words"],
    "negative-mtu": ["kernel-words"],
    "small-mtu": ["kernel-words"],
}


@pytest.mark.parametrize("case", FAILING)
def test_errors(case: str) -> None:
    """What the executable refuses is refused with its code and words."""
    with Twin(*REFUSED_OTHERWISE.get(case, ())) as twin:
        prepare(twin)
        twin.step("ADD", conf(**FAILING[case]))
        twin.step("CHECK", conf(**FAILING[case]))
        twin.compare_network("c1")


def test_arguments() -> None:
    """CNI_ARGS knows MAC, and fails for anything else without IgnoreUnknown."""
    with Twin() as twin:
        prepare(twin)
        twin.step("ADD", conf(), args="K=v;MAC=" + MAC)
        twin.step("ADD", conf(), args="MAC")
        twin.step("ADD", conf(), args="IgnoreUnknown=maybe")
        twin.step("ADD", conf(), args="MAC=" + MAC)
        twin.compare_network("c1")


def test_check_notices() -> None:
    """CHECK fails for each value that is not as configured, in the executable's words."""
    with Twin("allmulti-pointer") as twin:
        prepare(twin)
        wrong: tuple[tuple[str, Any], ...] = (("mac", MAC), ("promisc", True), ("mtu", 1300), ("allmulti", True))
        for key, value in wrong:
            twin.step("CHECK", conf(**{key: value}))
        twin.step("CHECK", conf(sysctl={"net.core.somaxconn": "17"}))
        twin.both("ip", "-n", "c1", "link", "set", "eth0", "promisc", "on")
        twin.step("CHECK", conf())
        twin.step("CHECK", conf(), ifname="eth1")
        twin.step("ADD", conf(mtu=1300), ifname="eth1")


def test_missing_sysctl() -> None:
    """A sysctl that does not exist is an error."""
    with Twin("file-words") as twin:
        prepare(twin)
        twin.step("ADD", conf(sysctl={"net.nonsense": "1"}))


def test_sysctl_of_several_numbers() -> None:
    """The executable's CHECK never recognises values that the kernel shows with tabs; ours does."""
    with Twin("sysctl-white-space") as twin:
        prepare(twin)
        twin.step("ADD", conf(sysctl={"net.ipv4.ip_local_port_range": "30000 40000"}))
        twin.step("CHECK", conf(sysctl={"net.ipv4.ip_local_port_range": "30000 40000"}))


def test_interface_gone() -> None:
    """A backup does not outlive its interface or its namespace."""
    with Twin("backup-forgotten") as twin:
        prepare(twin)
        twin.step("ADD", conf(mtu=1300))
        twin.both("ip", "-n", "c1", "link", "delete", "eth0")
        twin.step("DEL", conf(mtu=1300))
        twin.compare("backup", lambda host: view.files(host, "/run/cni"))
