"""loopback against the reference executable."""

from __future__ import annotations

from typing import Any

import pytest

from tests.differential.twin import Twin


def conf(version: str = "1.0.0", **more: Any) -> dict[str, Any]:
    """A loopback network."""
    return {"cniVersion": version, "name": "lo", "type": "loopback", **more}


@pytest.mark.parametrize("version", ["0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0"])
def test_versions(version: str) -> None:
    """ADD brings lo up and reports both addresses, CHECK agrees, DEL takes it down, a second DEL succeeds."""
    with Twin(*(["loopback-old-version"] if version != "1.0.0" else [])) as twin:
        twin.container()
        twin.step("ADD", conf(version), ifname="eth7")
        twin.compare_network("c1")
        twin.step("CHECK", conf(version))
        twin.step("DEL", conf(version))
        twin.compare_network("c1")
        twin.step("CHECK", conf(version))
        twin.step("DEL", conf(version))
        twin.step("DEL", conf(version), netns="")
        twin.step("DEL", conf(version), netns="gone")


def test_previous_result_is_passed_on() -> None:
    """With a prevResult the result is just that."""
    previous = {"cniVersion": "1.0.0", "interfaces": [{"name": "x"}], "ips": [{"address": "10.1.0.2/24"}]}
    with Twin() as twin:
        twin.container()
        twin.step("ADD", conf(prevResult=previous))
        twin.compare_network("c1")


def test_foreign_address() -> None:
    """An address of lo that is no loopback address is an error, with lo already up."""
    with Twin() as twin:
        twin.container()
        twin.both("ip", "-n", "c1", "address", "add", "10.1.0.1/32", "dev", "lo")
        twin.step("ADD", conf())
        twin.compare_network("c1")


def test_no_namespace() -> None:
    """A namespace that is none is an error of ADD and CHECK."""
    with Twin("namespace-words") as twin:
        twin.step("ADD", conf(), netns="/run/nowhere")
        twin.step("CHECK", conf(), netns="/run/nowhere")
        twin.step("ADD", conf(), netns="/etc/passwd")
        twin.step("DEL", conf(), netns="/etc/passwd")
