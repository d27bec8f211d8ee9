"""The reference plugins through the runtime, each in every version of CNI that it supports."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from dockercni.cni import CacheEntry, NetworkList, PluginCall, PluginError, ResultError, Runtime, RuntimeConf
from dockercni.cni.versions import KNOWN
from tests.netns import hosted as made
from tests.netns.hosted import Hosted, network

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")

SUBNET = {"type": "host-local", "subnet": "10.55.0.0/24", "routes": [{"dst": "0.0.0.0/0"}]}
STATIC = {"type": "static", "addresses": [{"address": "10.56.0.9/24", "gateway": "10.56.0.1"}]}
BRIDGE = {"type": "bridge", "bridge": "br-test", "isGateway": True, "ipMasq": True, "ipam": SUBNET}
PORTS = {"portMappings": [{"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}]}


@dataclass(frozen=True)
class Case:
    """A chain; `probed` is the plugin whose versions count, `first` the oldest in which the chain makes sense."""

    probed: str
    plugins: tuple[dict[str, Any], ...]
    addresses: frozenset[str]
    ifname: str = "eth0"
    first: str = "0.1.0"
    capability_args: dict[str, Any] = field(default_factory=dict)
    stays: frozenset[str] = frozenset()
    check_may_say: str = ""


FIRST = frozenset({"10.55.0.2/24"})
CASES = {
    "bridge": Case("bridge", (BRIDGE,), FIRST, stays=frozenset({"br-test"})),
    "host-local": Case(
        "host-local",
        ({**BRIDGE, "ipMasq": False, "ipam": {**SUBNET, "rangeStart": "10.55.0.77"}},),
        frozenset({"10.55.0.77/24"}),
        stays=frozenset({"br-test"}),
    ),
    "static": Case("static", ({**BRIDGE, "ipam": STATIC},), frozenset({"10.56.0.9/24"}), stays=frozenset({"br-test"})),
    "ptp": Case("ptp", ({"type": "ptp", "ipMasq": True, "ipam": SUBNET},), FIRST),
    "macvlan": Case("macvlan", ({"type": "macvlan", "master": "uplink", "ipam": SUBNET},), FIRST),
    "loopback": Case("loopback", ({"type": "loopback"},), frozenset(), ifname="lo"),
    "portmap": Case(
        "portmap",
        (BRIDGE, {"type": "portmap", "capabilities": {"portMappings": True}}),
        FIRST,
        first="0.3.0",
        capability_args=PORTS,
        check_may_say="could not check ipv6 dnat",  # portmap 1.1.1 looks for the rules of IPv4 in the chains of IPv6
        stays=frozenset({"br-test"}),
    ),
    "firewall": Case("firewall", (BRIDGE, {"type": "firewall"}), FIRST, first="0.4.0", stays=frozenset({"br-test"})),
    "tuning": Case(
        "tuning",
        (BRIDGE, {"type": "tuning", "mtu": 1400, "sysctl": {"net.ipv4.conf.eth0.arp_filter": "1"}}),
        FIRST,
        first="0.3.0",
        stays=frozenset({"br-test"}),
    ),
    "bandwidth": Case(
        "bandwidth",
        (
            BRIDGE,
            {
                "type": "bandwidth",
                "ingressRate": 8_000_000,
                "ingressBurst": 8_000_000,
                "egressRate": 8_000_000,
                "egressBurst": 8_000_000,
            },
        ),
        FIRST,
        first="0.3.0",
        stays=frozenset({"br-test"}),
    ),
}


@pytest.fixture(scope="module")
def hosted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hosted]:
    """A private host with an uplink."""
    for one in made.hosted(tmp_path_factory):
        one.host.run("ip", "link", "add", "uplink", "type", "veth", "peer", "name", "uplink-peer")
        for end in ("uplink", "uplink-peer"):
            one.host.run("ip", "link", "set", end, "up")
        yield one


@pytest.fixture
def netns(hosted: Hosted) -> Iterator[str]:
    """A namespace of the host, gone afterwards, with what a test that failed has left."""
    yield hosted.namespace("c1")
    hosted.reset()


def versions(hosted: Hosted, case: Case) -> list[str]:
    """The versions that the plugin says it supports, from the chain's first on."""
    probed = network("1.0.0", {"type": case.probed})
    supported = hosted.runtime.versions(probed, probed.plugins[0])
    return [version for version in supported if KNOWN.index(version) >= KNOWN.index(case.first)]


def check(hosted: Hosted, entry: CacheEntry, may_say: str) -> None:
    """CHECK, whose only complaint may be a known defect of the plugin."""
    try:
        hosted.runtime.check(entry)
    except PluginError as error:
        if not may_say or may_say not in error.msg:
            raise


@pytest.mark.parametrize("name", CASES)
def test_add_check_del_in_every_version(hosted: Hosted, netns: str, name: str) -> None:
    """ADD gives the address, CHECK agrees, DEL leaves nothing: no link, lease, rule or cache entry, in any version."""
    case = CASES[name]
    tried = versions(hosted, case)
    assert tried
    rules, links = hosted.rules(), hosted.links()
    for version in tried:
        hosted.forget_leases()
        net = network(version, *case.plugins)
        conf = RuntimeConf("c1", netns, case.ifname, capability_args=case.capability_args, owner={"by": "test"})
        result = hosted.add(net, conf)
        assert result.cni_version == version
        assert case.addresses <= {str(ip.address) for ip in result.ips}
        assert hosted.addresses("c1", case.ifname) == case.addresses
        entry = hosted.cache.read("net", "c1", case.ifname)
        assert entry
        assert entry.complete
        if version >= "0.4.0":
            check(hosted, entry, case.check_may_say)
        hosted.runtime.delete_recorded(entry)
        assert hosted.links("c1") == {"lo"}
        assert hosted.links() - case.stays == links
        assert (hosted.leases(), hosted.rules(), list(hosted.cache.entries())) == ([], rules, [])
        hosted.runtime.delete_recorded(entry)  # once more: already gone is success


@pytest.mark.parametrize("name", CASES)
def test_validate_agrees_with_the_plugins(hosted: Hosted, name: str) -> None:
    """validate() is content with every version that all plugins of the chain support."""
    case = CASES[name]
    for version in versions(hosted, case):
        declared = {"portMappings"} if name == "portmap" else set()
        assert hosted.runtime.validate(network(version, *case.plugins)) == declared


def test_check_sees_what_is_missing(hosted: Hosted, netns: str) -> None:
    """CHECK fails, with the plugin's own words, once the address is gone."""
    net = network("1.0.0", BRIDGE)
    hosted.add(net, RuntimeConf("c1", netns, "eth0", owner={}))
    entry = hosted.cache.read("net", "c1", "eth0")
    assert entry
    hosted.inside("c1", "ip", "addr", "flush", "dev", "eth0")
    with pytest.raises(PluginError) as error:
        hosted.runtime.check(entry)
    assert (error.value.plugin, error.value.verb, error.value.code) == ("bridge", "CHECK", 999)
    hosted.runtime.delete_recorded(entry)


def test_a_failed_chain_leaves_nothing(hosted: Hosted, netns: str) -> None:
    """When a later plugin refuses, the bridge's link, address and rules are gone before ADD returns."""
    rules = hosted.rules()
    net: NetworkList = network("1.0.0", BRIDGE, {"type": "tuning", "sysctl": {"kernel.hostname": "x"}})
    with pytest.raises(PluginError) as error:
        hosted.runtime.add(net, RuntimeConf("c1", netns, "eth0", owner={}))
    assert error.value.plugin == "tuning"
    assert not getattr(error.value, "__notes__", None)
    assert hosted.links("c1") == {"lo"}
    assert (hosted.leases(), hosted.rules(), list(hosted.cache.entries())) == ([], rules, [])


def test_del_after_the_namespace_is_gone(hosted: Hosted) -> None:
    """DEL with an empty namespace succeeds and gives the address back."""
    netns = hosted.namespace("c2")
    hosted.add(network("1.0.0", BRIDGE), RuntimeConf("c2", netns, "eth0", owner={}))
    entry = hosted.cache.read("net", "c2", "eth0")
    assert entry
    hosted.host.run("ip", "netns", "del", "c2")
    hosted.runtime.delete(network("1.0.0", BRIDGE), RuntimeConf("c2", "", "eth0"))
    assert hosted.leases() == []
    assert list(hosted.cache.entries()) == []


@pytest.mark.parametrize(
    ("conf", "words"),
    [
        ({"cniVersion": "0.2.0", "plugins": [{"type": "bridge", "bridge": "br-test"}]}, "no valid IP"),
        ({"cniVersion": "1.0.0", "plugins": [{**BRIDGE, "mtu": "1500"}]}, "cannot unmarshal string"),
        (
            {"cniVersion": "1.0.0", "plugins": [{**BRIDGE, "ipam": {"type": "absent"}}]},
            'failed to find plugin "absent"',
        ),
        ({"cniVersion": "0.3.1", "plugins": [{"type": "firewall"}]}, ""),
    ],
)
def test_errors_of_real_plugins_are_theirs(hosted: Hosted, netns: str, conf: dict[str, Any], words: str) -> None:
    """What the reference plugins complain of reaches the caller in their words, and no attachment is left."""
    plugins: list[dict[str, Any]] = conf["plugins"]
    with pytest.raises((PluginError, ResultError)) as error:
        hosted.runtime.add(network(conf["cniVersion"], *plugins), RuntimeConf("c1", netns, "eth0", owner={}))
    assert words in str(error.value)
    assert hosted.links("c1") == {"lo"}
    assert hosted.leases() == []


def test_missing_variables_are_listed_together(hosted: Hosted) -> None:
    """H33: the plugins' own complaint about their environment names everything that is missing, with code 4."""
    bare = PluginCall(
        "loopback", "ADD", {"cniVersion": "1.0.0", "name": "net", "type": "loopback"}, {"CNI_COMMAND": "ADD"}
    )
    with pytest.raises(PluginError) as error:
        hosted.runner.run(bare)
    assert error.value.code == 4
    for variable in ("CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME"):
        assert variable in str(error.value)


@pytest.mark.parametrize(("args", "refused"), [((("K", "v"),), True), ((("K", "v"), ("IgnoreUnknown", "1")), False)])
def test_unknown_args(hosted: Hosted, netns: str, args: tuple[tuple[str, str], ...], refused: bool) -> None:
    """H36: CNI_ARGS that a plugin does not know are its error, unless IgnoreUnknown stands among them."""
    net, conf = network("1.0.0", BRIDGE), RuntimeConf("c1", netns, "eth0", args=args, owner={})
    runtime: Runtime = hosted.runtime
    if refused:
        with pytest.raises(PluginError, match="unknown args"):
            runtime.add(net, conf)
    else:
        hosted.add(net, conf)
        runtime.delete(net, conf)
    assert hosted.links("c1") == {"lo"}
