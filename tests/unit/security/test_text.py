"""Names that become part of a text which a program reads: a ruleset, a command line, an environment, a shell."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import pytest

import dockercni
from dockercni.cni import ExecRunner, InvalidParameters, PluginCall, RuntimeConf
from dockercni.cni.request import validate
from dockercni.cni.result import Interface, Result
from dockercni.linux import forward, host_links, nft
from dockercni.plugins import forward as firewall_rules
from dockercni.plugins import ruleset, spoof_check
from dockercni.plugins.contract import PluginFailure

PACKAGE = Path(dockercni.__file__).parent
SOURCES = sorted(PACKAGE.rglob("*.py"))
IFNAMES = ('a"}', 'x";drop', "a\\", "%41", "é", "\udcff", "a;b{c}", "$(id)", "`id`", "a#b", "\x1b[2J")


@pytest.mark.parametrize("ifname", IFNAMES)
def test_comments_of_elements(ifname: str) -> None:
    """The name of an interface cannot end the comment that it stands in, and different names stay different."""
    comment = ruleset.Owner("0" * 64, ifname, "lan").comment
    assert comment.isascii()
    assert not set(comment) & set('"\\\n')
    assert comment.count(" ") == 2
    assert len({ruleset.Owner("c", name, "lan").comment for name in (*IFNAMES, "eth0", "a", "A")}) == len(IFNAMES) + 3


@pytest.mark.parametrize("ifname", IFNAMES)
def test_rulesets_of_macspoofchk(monkeypatch: pytest.MonkeyPatch, ifname: str) -> None:
    """A name that could be more than a word never becomes part of a ruleset's text."""
    monkeypatch.setattr(nft, "apply", pytest.fail)
    monkeypatch.setattr(nft, "listing", pytest.fail)
    with pytest.raises(PluginFailure, match="macspoofchk cannot be had"):
        spoof_check.add("veth0", "02:00:00:00:00:01", "c1", ifname)
    spoof_check.remove("c1", ifname)


@pytest.mark.parametrize("name", ["", "x" * 16, "x" * 100_000, "a\0b", "\udcff" * 16])
def test_links_that_cannot_be(name: str) -> None:
    """A plugin's result may call a link anything: what no link can be called is no link, and is told to nobody."""
    assert not host_links.routed(name)
    assert not forward.plain(name)
    named = Result("1.0.0", (Interface(name),))
    assert firewall_rules.segments(named) == []


@pytest.mark.parametrize(
    ("key", "value"), [("A", "1;IP=10.0.0.1"), ("A", "1=2"), ("A;B", "1"), ("A=B", "1"), ("", "1"), ("A", "\0")]
)
def test_cni_args(key: str, value: str) -> None:
    """No value of CNI_ARGS can bring another key along, whoever gives it."""
    with pytest.raises(InvalidParameters):
        validate("lan", RuntimeConf("c1", "/run/netns/x", "eth0", args=((key, value),)))


def test_environment_of_plugins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Plugins get no CNI variable but the call's, and nothing that a service manager gave to us alone."""
    plugin = tmp_path / "mine"
    plugin.write_text("#!/usr/bin/env python3\nimport json, os\nprint(json.dumps(dict(os.environ)))\n")
    plugin.chmod(0o755)
    for name in ("NOTIFY_SOCKET", "WATCHDOG_USEC", "LISTEN_FDS", "CNI_NETNS_OVERRIDE", "CNI_ARGS", "KEPT"):
        monkeypatch.setenv(name, "1")
    environment = ExecRunner([tmp_path]).run(PluginCall("mine", "ADD", {}, {"CNI_COMMAND": "ADD"}))
    assert {key for key in environment if key.startswith(("CNI_", "NOTIFY", "WATCHDOG", "LISTEN", "KEPT"))} == {
        "CNI_COMMAND",
        "KEPT",
    }


def calls(source: Path) -> list[tuple[str, ast.Call]]:
    """The calls in a module, by their dotted names."""
    tree = ast.parse(source.read_text(encoding="utf-8"))
    return [(ast.unparse(node.func), node) for node in ast.walk(tree) if isinstance(node, ast.Call)]


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_shell(source: Path) -> None:
    """No shell is started anywhere, and nothing is evaluated; programs are started by five modules, with lists."""
    starters = {
        "cni/invoke.py",
        "commands/setup/effects.py",
        "companions/starter.py",
        "linux/iptables.py",
        "linux/hold/holder.py",
    }
    forbidden = {"os.system", "os.popen", "eval", "exec", "pickle.loads", "pickle.load", "getattr(os, 'system')"}
    for name, call in calls(source):
        assert name not in forbidden
        assert not name.startswith(("os.spawn", "os.exec", "os.posix_spawn", "subprocess.getoutput"))
        assert "shell" not in [keyword.arg for keyword in call.keywords]
        if name.startswith("subprocess."):
            assert str(source.relative_to(PACKAGE)) in starters
            if name in {"subprocess.run", "subprocess.Popen"}:
                argv: Any = call.args[0]
                assert isinstance(argv, ast.List) or ast.unparse(argv) == "argv"
