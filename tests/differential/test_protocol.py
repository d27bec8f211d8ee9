"""The protocol itself against the Go skeleton, by the example of host-local."""

from __future__ import annotations

from typing import Any

import pytest

from tests.differential.twin import Twin

IPAM = {"type": "host-local", "subnet": "10.1.0.0/24"}
CONF: dict[str, Any] = {"cniVersion": "1.0.0", "name": "net", "type": "host-local", "ipam": IPAM}
VARIABLES = ("CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_PATH", "CNI_ARGS")


@pytest.mark.parametrize("verb", ["ADD", "DEL", "CHECK"])
def test_missing_variables(verb: str) -> None:
    """Each variable that a verb needs, alone and all together."""
    with Twin() as twin:
        twin.container()
        twin.step("ADD", CONF, container="c9", netns="c1")
        for name in VARIABLES:
            twin.step(verb, CONF, environment={name: None})
            twin.step(verb, CONF, environment={name: ""})
        twin.step(verb, CONF, environment=dict.fromkeys(VARIABLES))
        twin.compare_leases()


BAD: dict[str, dict[str, Any]] = {
    "no-name": {"name": None},
    "empty-name": {"name": ""},
    "check-too-old": {"cniVersion": "0.3.1"},
    "no-version": {"cniVersion": None},
}


@pytest.mark.parametrize("case", BAD)
def test_bad_configurations(case: str) -> None:
    """What is wrong with name or version is said before anything is done."""
    with Twin() as twin:
        twin.container()
        for verb in ("CHECK", "DEL"):
            twin.step(verb, CONF | BAD[case])
        twin.compare_leases()


def test_unknown_version() -> None:
    """A version that is not spoken, with the list of those that are: ours has one more."""
    with Twin("versions-spoken") as twin:
        twin.container()
        for version in ("9.9.9", "1.0", "x"):
            twin.step("ADD", CONF | {"cniVersion": version})


def test_bad_names() -> None:
    """Names that are not allowed have the same codes; the words are ours."""
    with Twin("names-words") as twin:
        twin.container()
        for container in ("-c", "a b", "a/b", "ä"):
            twin.step("ADD", CONF, container=container, netns="c1")
        for ifname in ("a/b", "a:b", "a b", ".", "..", "x" * 16):
            twin.step("ADD", CONF, ifname=ifname)
        for name in ("a b", "../a", "-a", "a/b"):
            twin.step("ADD", CONF | {"name": name})
        twin.compare_leases()


def test_wrong_types() -> None:
    """A name or version that is no string cannot be decoded."""
    with Twin("decoding-words") as twin:
        twin.container()
        twin.step("ADD", CONF | {"name": 7})
        twin.step("ADD", CONF | {"cniVersion": 7})


def test_own_namespace() -> None:
    """The host's own namespace is refused by us before, by the installed executables not at all."""
    with Twin("own-namespace") as twin:
        twin.step("ADD", CONF, netns="/proc/self/ns/net")
