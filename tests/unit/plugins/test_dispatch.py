"""dockercni.plugins.dispatch and ipam: which backend serves a plugin, and what becomes of its failures."""

from __future__ import annotations

import json
import tomllib
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from dockercni.cni import CNIError, ConfigurationError, PluginError, PluginNotFound, Result, parse_list, versions
from dockercni.plugins import host_local, ipam, static
from dockercni.plugins.dispatch import Dispatch, refusal
from dockercni.plugins.skeleton import serve
from dockercni.plugins.table import PLUGINS
from tests.unit.plugins.asking import Executables, ask, call

if TYPE_CHECKING:
    from dockercni.plugins.contract import Plugin, Request


def choose(plugin: dict[str, Any], backend: Any = "auto", *missing: str, **top: Any) -> str:
    """The backend for the only plugin of a network."""
    conf = {"cniVersion": "1.0.0", "name": "net", "plugins": [plugin], **top}
    network = parse_list(json.dumps(conf).encode(), Path("/etc/cni/net.d/net.conflist"))
    return Dispatch(Executables(*missing), backend).choose(network, network.plugins[0])


LOOPBACK, ODD, DHCP = {"type": "loopback"}, {"type": "loopback", "odd": 1}, {"type": "dhcp"}


@pytest.mark.parametrize(
    ("plugin", "backend", "chosen"),
    [
        (LOOPBACK, "auto", "builtin"),
        (LOOPBACK, "builtin", "builtin"),
        (LOOPBACK, "exec", "exec"),
        (ODD, "auto", "exec"),
        (ODD, "exec", "exec"),
        (DHCP, "auto", "exec"),
        ({**LOOPBACK, "cni.dev/x": 1, "capabilities": {"x": True}, "dockercni": {}, "args": {}}, "auto", "builtin"),
    ],
)
def test_choice(plugin: dict[str, Any], backend: str, chosen: str) -> None:
    """auto takes the native plugin wherever it supports every key; a network's own wish comes before the setting."""
    assert choose(plugin, backend) == chosen
    assert choose(plugin, "auto", dockercni={"backend": backend}) == chosen
    assert choose(plugin, "exec", dockercni={"backend": backend}) == chosen
    assert choose(plugin, backend, dockercni={}) == chosen


def test_a_choice_that_may_be_a_mistake(caplog: pytest.LogCaptureFixture) -> None:
    """A plugin that could be native but for a key of its configuration is named once, with the key."""
    conf = {"cniVersion": "1.0.0", "name": "net", "plugins": [ODD, DHCP, LOOPBACK]}
    network = parse_list(json.dumps(conf).encode())
    dispatch = Dispatch(Executables())
    for _ in range(2):
        for plugin in network.plugins:
            dispatch.choose(network, plugin)
    (told,) = caplog.messages
    assert told == 'network "net": plugin loopback is left to the executable: odd is not supported'


@pytest.mark.parametrize(
    ("plugin", "top", "reason"),
    [
        (ODD, {}, "odd is not supported"),
        (DHCP, {}, "there is no built-in plugin dhcp"),
    ],
)
def test_builtin_that_cannot_be(plugin: dict[str, Any], top: dict[str, Any], reason: str) -> None:
    """Where a built-in plugin is demanded and cannot be, the error says why."""
    with pytest.raises(CNIError, match=f'network "net" cannot be built-in: {reason}') as error:
        choose(plugin, "builtin", **top)
    assert error.value.code == 50


def test_no_plugin_at_all() -> None:
    """A plugin that neither backend has is not found."""
    with pytest.raises(PluginNotFound):
        choose(DHCP, "auto", "dhcp")
    assert choose(LOOPBACK, "auto", "loopback") == "builtin"


@pytest.mark.parametrize(("asked", "chosen"), [("native", "builtin"), ("exec", "exec"), ("auto", "builtin")])
def test_former_names(asked: str, chosen: str) -> None:
    """A network's configuration of an earlier version says `engine`, and "native" for what is "builtin" now."""
    assert choose(LOOPBACK, dockercni={"engine": asked}) == chosen


@pytest.mark.parametrize("value", [{"backend": "fast"}, "builtin", {"backend": 1}, []])
def test_bad_backend(value: Any) -> None:
    """A wrong value in the network's file is one line that names file and key."""
    with pytest.raises(
        ConfigurationError, match=r"^/etc/cni/net.d/net.conflist: dockercni.backend: must be one of auto"
    ):
        choose(LOOPBACK, dockercni=value)


def test_version_that_is_not_spoken(monkeypatch: pytest.MonkeyPatch) -> None:
    """auto leaves a version that the built-in plugin does not speak to the executable."""
    monkeypatch.setitem(PLUGINS, "static", ("dockercni.plugins.static", ("1.0.0",)))
    assert refusal("static", {"cniVersion": "1.0.0"}) == ""
    assert refusal("static", {"cniVersion": "0.4.0"}) == "the built-in plugin does not speak version 0.4.0"
    assert refusal("static", {}) == "the built-in plugin does not speak version 0.1.0"


@pytest.mark.parametrize("kind", PLUGINS)
def test_every_plugin(kind: str) -> None:
    """Each plugin of the table is a module with the verbs of the contract, and a script of the package."""
    module, spoken = PLUGINS[kind]
    for verb in ("unsupported", "add", "check", "delete", "status", "gc"):
        assert callable(getattr(import_module(module), verb))
    assert set(spoken) <= set(versions.KNOWN)
    scripts = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text())["project"]["scripts"]
    assert scripts[f"dockercni-{kind}"] == scripts["dockercni"]


def test_modules_are_plugins() -> None:
    """Modules fit the contract; the type checker looks at this."""
    plugins: list[Plugin] = [host_local, static]
    assert len(plugins) == 2


def test_calls_go_where_they_say() -> None:
    """A call is served by the backend that it names, which was chosen at ADD."""
    executables = Executables(answer={"cniVersion": "1.0.0"})
    runner = Dispatch(executables)
    conf = {"cniVersion": "1.0.0", "name": "net", "type": "static", "ipam": {"type": "static"}}
    assert ask("ADD", conf, runner=runner) == {"cniVersion": "1.0.0"}
    assert not executables.calls
    made = replace(call("ADD", conf), backend="exec")
    runner.run(made)
    assert executables.calls == [made]
    assert runner.path == "/nowhere"


def test_errors_name_plugin_and_verb() -> None:
    """An error of a native plugin looks like one of an executable, and keeps code and details."""
    conf = {"cniVersion": "9.9.9", "name": "net", "type": "static"}
    with pytest.raises(PluginError) as error:
        ask("ADD", conf)
    assert str(error.value).startswith('plugin "static" failed (add): incompatible CNI versions; config is "9.9.9"')
    assert (error.value.plugin, error.value.verb, error.value.code) == ("static", "ADD", 1)
    with pytest.raises(PluginNotFound, match='plugin "dhcp" not found; searched the plugins of dockercni itself'):
        ask("ADD", {**conf, "type": "dhcp"})


def test_defects(monkeypatch: pytest.MonkeyPatch) -> None:
    """A defect of a plugin is reported while it is being handled, and becomes an error with code 999."""
    seen: list[str] = []
    monkeypatch.setattr(static, "add", lambda _: {}["key"])
    conf = {"cniVersion": "1.0.0", "name": "net", "type": "static"}
    runner = Dispatch(Executables(), on_defect=lambda made: seen.append(made.plugin))
    with pytest.raises(PluginError, match="KeyError: 'key'") as error:
        ask("ADD", conf, runner=runner)
    assert (error.value.code, seen) == (999, ["static"])


def test_defects_are_logged(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """The daemon's log shows a defect with its traceback."""
    monkeypatch.setattr(static, "add", lambda _: {}["key"])
    with pytest.raises(PluginError):
        ask("ADD", {"cniVersion": "1.0.0", "name": "net", "type": "static"})
    printed = "".join(capsys.readouterr())
    assert "plugin has a defect" in printed
    assert "KeyError" in printed


class Main:
    """A main plugin that does nothing but delegate."""

    def unsupported(self, conf: Any) -> str:
        """See contract.Plugin."""
        return ""

    def add(self, request: Request) -> Result:
        """See contract.Plugin."""
        return ipam.add(request)

    def check(self, request: Request) -> None:
        """See contract.Plugin."""
        ipam.check(request)

    def delete(self, request: Request) -> None:
        """See contract.Plugin."""
        ipam.delete(request)

    def status(self, request: Request) -> None:
        """See contract.Plugin."""
        ipam.status(request)

    def gc(self, request: Request) -> None:
        """See contract.Plugin."""
        ipam.gc(request)


def delegate(verb: str, conf: dict[str, Any], executables: Executables) -> Any:
    """What becomes of a verb that is delegated to IPAM."""
    conf = {"cniVersion": "1.1.0", "name": "net", "type": "bridge", "foreign": 1, **conf}
    return serve(Main(), versions.KNOWN, call(verb, conf, ARGS="A=b;IgnoreUnknown=1"), Dispatch(executables))


@pytest.mark.parametrize("verb", ["ADD", "CHECK", "DEL", "STATUS", "GC"])
def test_delegation_to_executables(verb: str) -> None:
    """Every verb reaches an IPAM executable with the same stdin and environment, but its own type and verb."""
    executables = Executables(answer={"ips": [{"address": "10.1.0.2/24"}]})
    result = delegate(verb, {"ipam": {"type": "elsewhere"}}, executables)
    assert (result is not None) == (verb == "ADD")
    (made,) = executables.calls
    assert (made.plugin, made.verb, made.backend) == ("elsewhere", verb, "exec")
    assert made.environment == {**call(verb, {"type": "x"}, ARGS="A=b;IgnoreUnknown=1").environment}
    assert made.config["foreign"] == 1


def test_delegation_to_native_plugins() -> None:
    """An IPAM plugin that we have serves where it supports the configuration, else the executable."""
    addresses = [{"address": "10.1.0.2/24"}]
    executables = Executables(answer={})
    found = delegate("ADD", {"ipam": {"type": "static", "addresses": addresses}}, executables)
    assert found.raw == {"cniVersion": "1.1.0", "ips": addresses}
    assert not executables.calls
    delegate("ADD", {"ipam": {"type": "static", "addresses": addresses, "new": 1}}, executables)
    assert [made.plugin for made in executables.calls] == ["static"]


def test_delegation_fails() -> None:
    """What the IPAM plugin reports is the error of the main plugin."""
    with pytest.raises(CNIError) as error:
        delegate("ADD", {"ipam": {"type": "host-local"}}, Executables())
    assert (error.value.msg, error.value.code) == ("no IP ranges specified", 999)
