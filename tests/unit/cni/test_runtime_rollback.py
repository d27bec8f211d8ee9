"""What becomes of the record when an ADD and its roll-back fail."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from dockercni.cni import Cache, NetworkList, PluginCall, PluginConf, PluginError, Runtime, RuntimeConf, parse_list

NETWORK = parse_list(
    json.dumps({"cniVersion": "1.0.0", "name": "net", "plugins": [{"type": "a"}, {"type": "b"}]}).encode()
)
RESULT = {"cniVersion": "1.0.0"}


class Failing:
    """Plugins that fail with the given words, by (plugin, verb)."""

    path = ""

    def __init__(self, words: dict[tuple[str, str], str]) -> None:
        self.words = words

    def choose(self, network: NetworkList, plugin: PluginConf) -> str:
        return "fake"

    def run(self, call: PluginCall) -> Any:
        if words := self.words.get((call.plugin, call.verb)):
            raise PluginError(call.plugin, call.verb, words, code=999)
        return RESULT if call.verb == "ADD" else None


@pytest.mark.parametrize(
    ("words", "stays"),
    [
        ({("a", "ADD"): "no ranges", ("a", "DEL"): "no ranges"}, False),
        ({("a", "ADD"): "no ranges", ("a", "DEL"): "disk full"}, True),
        ({("b", "ADD"): "no ranges", ("b", "DEL"): "no ranges"}, True),
        ({("a", "ADD"): "no ranges", ("a", "DEL"): "no ranges", ("b", "DEL"): "no ranges"}, True),
    ],
)
def test_an_unusable_configuration_leaves_nothing(
    tmp_path: Path, words: dict[tuple[str, str], str], stays: bool
) -> None:
    """A first plugin that fails ADD and DEL with the same words made nothing, and no record is kept; else one is."""
    cache = Cache(tmp_path)
    with pytest.raises(PluginError, match="no ranges"):
        Runtime(Failing(words), cache).add(NETWORK, RuntimeConf("c", "/run/netns/c", "eth0"))
    assert bool(list(cache.entries())) == stays
