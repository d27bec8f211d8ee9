"""dockercni.plugins.skeleton and contract: the protocol as the Go skeleton speaks it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from dockercni.cni import CNIError, PluginCall, Result
from dockercni.cni.result import IPConfig
from dockercni.plugins import addresses, skeleton
from dockercni.plugins.contract import PluginFailure, Request
from tests.unit.plugins.asking import Executables, call

CONF = {"cniVersion": "1.1.0", "name": "net", "type": "static"}
DETAILS = 'config is "0.3.1", plugin supports ["0.1.0" "0.2.0" "0.4.0" "1.0.0" "1.1.0"]'
VERSIONS = ("0.1.0", "0.2.0", "0.4.0", "1.0.0", "1.1.0")


class Plugin:
    """A plugin that notes the requests it gets."""

    def __init__(self, result: Result | None = None, failure: Exception | None = None) -> None:
        self.requests: list[Request] = []
        self._result = result or Result("1.1.0")
        self._failure = failure

    def unsupported(self, conf: Any) -> str:
        """See contract.Plugin."""
        return ""

    def add(self, request: Request) -> Result:
        """See contract.Plugin."""
        self.requests.append(request)
        if self._failure:
            raise self._failure
        return self._result

    def delete(self, request: Request) -> None:
        """See contract.Plugin."""
        self.add(request)

    check = status = gc = delete


def serve(made: PluginCall, plugin: Plugin | None = None) -> Any:
    """What the skeleton makes of a call, as JSON."""
    answer = skeleton.serve(plugin or Plugin(), VERSIONS, made, Executables())
    return answer.raw if answer else None


def refusal(made: PluginCall, plugin: Plugin | None = None) -> tuple[int, str]:
    """Code and text of the error that a call ends with."""
    with pytest.raises(CNIError) as error:
        serve(made, plugin)
    return int(error.value.code), str(error.value)


@pytest.mark.parametrize(
    ("verb", "missing"),
    [
        ("ADD", "CNI_CONTAINERID,CNI_NETNS,CNI_IFNAME,CNI_PATH"),
        ("CHECK", "CNI_CONTAINERID,CNI_NETNS,CNI_IFNAME,CNI_PATH"),
        ("DEL", "CNI_CONTAINERID,CNI_IFNAME,CNI_PATH"),
        ("GC", "CNI_PATH"),
        ("STATUS", "CNI_PATH"),
        ("", "CNI_COMMAND"),
    ],
)
def test_missing_variables(verb: str, missing: str) -> None:
    """All that a verb lacks is listed together, with code 4."""
    made = replace(call(verb, CONF), environment={})
    assert refusal(made) == (4, f"required env variables [{missing}] missing")


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        (call("FETCH", CONF), (4, "unknown CNI_COMMAND: FETCH")),
        (call("ADD", CONF, "-c"), (4, "invalid characters in container id; '-c'")),
        (call("ADD", CONF, "c1", "a/b"), (4, "interface name contains / or : or white space; 'a/b'")),
        (call("DEL", CONF, "c1", "x" * 16), (4, "interface name is longer than 15 bytes; 'xxxxxxxxxxxxxxxx'")),
        (call("ADD", {**CONF, "name": 1}), (6, None)),
        (call("ADD", {"type": "static"}), (7, "missing network name")),
        (call("ADD", {**CONF, "name": "a b"}), (7, "invalid characters in network name; 'a b'")),
        (call("CHECK", {**CONF, "cniVersion": "0.3.1"}), (1, "config version does not allow CHECK")),
        (call("CHECK", {**CONF, "cniVersion": None}), (1, "config version does not allow CHECK")),
        (call("GC", {**CONF, "cniVersion": "1.0.0"}), (1, "config version does not allow GC")),
        (call("STATUS", {**CONF, "cniVersion": "1.0.0"}), (1, "config version does not allow STATUS")),
        (call("ADD", {**CONF, "cniVersion": "0.3.1"}), (1, f"incompatible CNI versions; {DETAILS}")),
    ],
)
def test_refusals(made: PluginCall, expected: tuple[int, str | None]) -> None:
    """What cannot be served is refused before the plugin is asked, with the skeleton's code and words."""
    plugin = Plugin()
    code, text = refusal(made, plugin)
    assert code == expected[0]
    assert expected[1] is None or text == expected[1]
    assert not plugin.requests


@pytest.mark.parametrize("stdin", [b"", b"{", b"[]", b"{} {}"])
def test_what_is_no_configuration(stdin: bytes) -> None:
    """What an executable reads on stdin and is no JSON object is refused with code 6."""
    with pytest.raises(CNIError, match=r"^error unmarshall network config: ") as error:
        skeleton.read_config(stdin)
    assert error.value.code == 6


@pytest.mark.parametrize("verb", ["ADD", "DEL"])
def test_own_namespace(verb: str) -> None:
    """The namespace of the plugin itself is refused with code 8 before anything is done, unless that is overridden."""
    plugin = Plugin()
    own = "/proc/self/ns/net"
    code, text = refusal(call(verb, CONF, NETNS=own), plugin)
    assert (code, text) == (8, "plugin's netns and netns from CNI_NETNS should not be the same")
    assert not plugin.requests
    for override in ("1", "True"):
        serve(call(verb, CONF, NETNS=own, NETNS_OVERRIDE=override), plugin)
    assert len(plugin.requests) == 2


def test_request() -> None:
    """A request bears what the variables and the configuration say; for GC and STATUS nothing of a container."""
    plugin = Plugin()
    for verb in ("ADD", "DEL", "CHECK", "GC", "STATUS"):
        serve(call(verb, {**CONF, "mtu": 7}, NETNS="" if verb == "DEL" else "/x"), plugin)
    parts = [
        (each.name, each.container_id, each.netns, each.ifname, each.fields.integer("MTU")) for each in plugin.requests
    ]
    of_container, of_network = ("net", "c1", "/x", "eth0", 7), ("net", "", "", "", 7)
    assert parts == [of_container, ("net", "c1", "", "eth0", 7), of_container, of_network, of_network]


@pytest.mark.parametrize(
    ("failure", "code", "text"),
    [
        (CNIError("busy", 11, "later"), 11, "busy; later"),
        (PluginFailure("no"), 999, "no"),
        (FileNotFoundError(2, "No such file", "/a"), 999, "/a: No such file"),
        (OSError(22, "Invalid argument"), 999, "Invalid argument"),
    ],
)
def test_failures(failure: Exception, code: int, text: str) -> None:
    """An error with a code keeps it; what the system refuses becomes 999."""
    assert refusal(call("ADD", CONF), Plugin(failure=failure)) == (code, text)


def test_defects_are_not_hidden() -> None:
    """Anything else that a plugin raises comes through as it is."""
    with pytest.raises(ZeroDivisionError):
        serve(call("ADD", CONF), Plugin(failure=ZeroDivisionError()))


def test_result_in_the_version_of_the_configuration() -> None:
    """The result is converted, and what cannot be is an error with code 999."""
    address = addresses.parse_prefixed("10.1.0.2/24")
    assert address
    plugin = Plugin(Result("1.1.0", ips=(IPConfig(address),)))
    assert serve(call("ADD", {**CONF, "cniVersion": "0.2.0"}), plugin) == {
        "cniVersion": "0.2.0",
        "dns": {},
        "ip4": {"ip": "10.1.0.2/24"},
    }
    assert serve(call("ADD", {**CONF, "cniVersion": ""}), plugin)["cniVersion"] == "0.1.0"
    old = call("ADD", {**CONF, "cniVersion": "0.2.0"})
    assert refusal(old) == (999, "cannot convert: no valid IP addresses")


@pytest.mark.parametrize(
    ("args", "found"),
    [
        ("", {}),
        ("IP=1", {"IP": "1"}),
        ("IP=1;IP=2;MAC=", {"IP": "2", "MAC": ""}),
        ("IgnoreUnknown=1;K=v;IP=1", {"IP": "1"}),
        ("K=v;IgnoreUnknown=TRUE", {}),
        ("K=v;IP=1", 'ARGS: unknown args ["K=v"]'),
        ("K=v;L=w;IgnoreUnknown=0", 'ARGS: unknown args ["K=v" "L=w"]'),
        ("ip=1", 'ARGS: unknown args ["ip=1"]'),
        ("IP", 'ARGS: invalid pair "IP"'),
        ("IP=1=2", 'ARGS: invalid pair "IP=1=2"'),
        ("IP=1;", 'ARGS: invalid pair ""'),
        (
            "IgnoreUnknown=x",
            'ARGS: error parsing value of pair "IgnoreUnknown=x": boolean unmarshal error: invalid input x',
        ),
    ],
)
def test_arguments(args: str, found: dict[str, str] | str) -> None:
    """CNI_ARGS is read by the rules of the Go library."""
    plugin = Plugin()
    serve(call("ADD", CONF, ARGS=args), plugin)
    if isinstance(found, dict):
        assert plugin.requests[0].arguments("IP", "MAC") == found
        return
    with pytest.raises(PluginFailure) as error:
        plugin.requests[0].arguments("IP", "MAC")
    assert (error.value.msg, error.value.code) == (found, 999)


def test_previous() -> None:
    """prevResult is a result in its own version, or in the configuration's; it need not be there."""
    plugin = Plugin()
    for previous in (
        None,
        {"ips": [{"address": "10.1.0.2/24"}]},
        {"cniVersion": "0.2.0", "ip4": {"ip": "10.1.0.2/24"}},
    ):
        serve(call("ADD", {**CONF, "prevResult": previous}), plugin)
    absent, own, older = (each.previous for each in plugin.requests)
    assert absent is None
    assert own
    assert older
    assert (own.cni_version, older.cni_version) == ("1.1.0", "0.2.0")
    assert own.ips[0].address == older.ips[0].address
    serve(call("ADD", {**CONF, "prevResult": 7}), plugin)
    with pytest.raises(CNIError, match="prevResult: must be an object"):
        _ = plugin.requests[-1].previous
