"""Finding and running plugins as in libcni: numbers 31 to 36 of the conformance list."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from dockercni.cni import ExecRunner, InvalidParameters, PluginCall, PluginError, PluginNotFound
from tests.unit.cni.lab import NOOP, Lab, attachment, network


def script(directory: Path, text: str) -> ExecRunner:
    """A runner with one plugin, `one`: a shell script."""
    (directory / "one").write_text(f"#!/bin/sh\n{text}\n")
    (directory / "one").chmod(0o755)
    return ExecRunner([directory], 10)


def call(verb: str = "ADD", **environment: str) -> PluginCall:
    """A call of that plugin."""
    return PluginCall("one", verb, {"cniVersion": "1.0.0", "name": "net", "type": "one"}, environment)


@pytest.mark.parametrize("name", ["", "a/b", "../noop", ".", "..", "missing", "a\0b", "x" * 300, "\ud800", "directory"])
def test_what_is_no_plugin_is_not_found(tmp_path: Path, name: str) -> None:
    """H31: an empty name, one with a slash, one that no directory has or that is no file there, is not found."""
    (tmp_path / "noop").symlink_to(NOOP)
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "directory").mkdir()
    with pytest.raises(PluginNotFound) as error:
        ExecRunner([tmp_path / "sub", tmp_path / "none"]).find(name)
    assert error.value.directories == (str(tmp_path / "sub"), str(tmp_path / "none"))


def test_without_directories_nothing_is_found() -> None:
    """H31: with no directory to search there is no plugin, and the error says so."""
    with pytest.raises(PluginNotFound, match="searched no directory at all"):
        ExecRunner([]).find("bridge")


def test_the_first_directory_wins(tmp_path: Path) -> None:
    """H31: the first regular file of that name is taken, through links, past directories of that name."""
    for name in ("a", "b", "c"):
        (tmp_path / name).mkdir()
    (tmp_path / "a" / "one").mkdir()
    (tmp_path / "b" / "one").symlink_to(NOOP)
    (tmp_path / "c" / "one").touch()
    assert ExecRunner([tmp_path / name for name in "abc"]).find("one") == tmp_path / "b" / "one"


def test_relative_directories_are_those_of_the_caller(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """Plugins run in /, so a relative directory is made absolute at once, in CNI_PATH too."""
    monkeypatch.chdir(lab.directory)
    runner = ExecRunner([Path("bin")])
    monkeypatch.chdir("/")
    lab.plugin("one")
    runner.run(call(CNI_COMMAND="ADD", CNI_PATH=runner.path, NOOP_RECORD=str(lab.record)))
    assert lab.calls[0].env["CNI_PATH"] == str(lab.bin)


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    """A runtime over recording executables."""
    return Lab(tmp_path)


@pytest.mark.parametrize(
    ("text", "code", "message"),
    [
        ("exit 3", 0, "failed with no error message (exit status 3)"),
        ("kill -9 $$", 0, "failed with no error message (killed by signal 9, Killed)"),
        ("echo oh no >&2; exit 1", 0, 'failed: "oh no" (exit status 1)'),
        ("echo ' '; echo oh no >&2; exit 1", 0, 'failed: "oh no" (exit status 1)'),
        ("echo garbage; exit 1", 0, "failed (exit status 1), and what it printed is not a CNI error: 'garbage\\n'"),
        ("echo '[7]'; exit 1", 0, "failed (exit status 1), and what it printed is not a CNI error: '[7]\\n'"),
        (
            """echo '{"code":7,"msg":"no"'; exit 1""",
            0,
            "failed (exit status 1), and what it printed is not a CNI error: ",
        ),
        ("""echo '{}'; exit 1""", 0, "failed (exit status 1), and what it printed is not a CNI error: '{}\\n'"),
        ("""echo '{"code":7}'; exit 1""", 7, "failed with no error message (exit status 1)"),
        ("""echo '{"code":7,"msg":"no","details":"x"}'; exit 1""", 7, "no"),
        ("""echo '{"Code":7,"MSG":"no"}'; exit 1""", 7, "no"),
        ("""echo '{"code":31337,"msg":"own"}'; exit 1""", 31337, "own"),
        ("""echo '{"code":-1,"msg":"odd"}'; exit 1""", -1, "odd"),
        ("""echo '{"code":"x","msg":"odd","details":[]}'; exit 1""", 0, "odd"),
        ("""echo '{"code":true,"msg":"odd"}'; exit 1""", 0, "odd"),
        ("""echo '{"code":999,"msg":"untyped"}'; echo noise >&2; exit 1""", 999, "untyped"),
    ],
)
def test_failures_are_told(tmp_path: Path, text: str, code: int, message: str) -> None:
    """H32, H35: a failure with stderr only, garbage or nothing is told as such; codes are kept, 999 included."""
    with pytest.raises(PluginError) as error:
        script(tmp_path, text).run(call())
    assert error.value.msg.startswith(message)
    assert (error.value.code, error.value.plugin, error.value.verb) == (code, "one", "ADD")


@pytest.mark.parametrize("value", ["a\0b", "\ud800"])
def test_what_no_environment_can_hold_is_an_error(tmp_path: Path, value: str) -> None:
    """A variable that cannot be handed over (from another runtime's cache, say) is a PluginError, no ValueError."""
    with pytest.raises(PluginError, match="cannot be started"):
        script(tmp_path, "exit 0").run(call(verb="DEL", CNI_ARGS=value))


def test_stderr_of_a_success_is_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """H32: what a plugin that succeeds writes to stderr goes to the log, where libcni copies it to our own stderr."""
    with caplog.at_level("INFO", "dockercni.cni"):
        assert script(tmp_path, "echo a warning >&2; echo '{}'").run(call()) == {}
    assert [record.getMessage() for record in caplog.records] == ["plugin one (ADD): a warning"]


@pytest.mark.parametrize(
    ("verb", "required"),
    [
        ("ADD", {"CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_PATH"}),
        ("CHECK", {"CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_PATH"}),
        ("DEL", {"CNI_CONTAINERID", "CNI_IFNAME", "CNI_PATH"}),
        ("GC", {"CNI_PATH"}),
        ("STATUS", {"CNI_PATH"}),
        ("VERSION", {"CNI_PATH"}),
    ],
)
def test_every_variable_is_there(lab: Lab, verb: str, required: set[str]) -> None:
    """H33: what plugins demand of the environment, all of it is there for every verb, and not empty."""
    net = network(lab.plugin("one"))
    lab.runtime.add(net, attachment())
    entry = lab.cache.read("net", attachment().container_id, "eth0")
    assert entry
    lab.runtime.check(entry)
    lab.runtime.gc(net, [(entry.container_id, "eth0")])
    lab.runtime.status(net)
    lab.runtime.delete_recorded(entry)
    os.environ["NOOP_RECORD"] = str(lab.record)
    try:
        lab.runtime.versions(net, net.plugins[0])
    finally:
        del os.environ["NOOP_RECORD"]
    env = next(each.env for each in lab.calls if each.verb == verb)
    assert {key for key, value in env.items() if value} >= required | {"CNI_COMMAND"}
    assert env["CNI_COMMAND"] == verb


def test_variables_of_the_caller_do_not_reach_plugins(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """H33: plugins inherit our environment but for CNI_* variables, which libcni would hand on where it sets none."""
    monkeypatch.setenv("CNI_NETNS_OVERRIDE", "1")
    monkeypatch.setenv("CNI_IFNAME", "other")
    monkeypatch.setenv("NOOP_RECORD", str(lab.record))
    lab.runtime.status(network({**lab.plugin("one"), "record": ""}))
    assert lab.calls[0].env == {"CNI_COMMAND": "STATUS", "CNI_PATH": str(lab.bin)}


@pytest.mark.parametrize(
    ("args", "variable"),
    [
        ((), ""),
        ((("IP", "192.0.2.9"),), "IP=192.0.2.9"),
        ((("IgnoreUnknown", "1"), ("K8S_POD_NAME", "a")), "IgnoreUnknown=1;K8S_POD_NAME=a"),
        ((("A", ""),), "A="),
    ],
)
def test_args_are_joined(lab: Lab, args: Any, variable: str) -> None:
    """H36: CNI_ARGS is key=value, joined by semicolons, in the order given."""
    lab.runtime.add(network(lab.plugin("one")), attachment(args=args))
    assert lab.calls[0].env["CNI_ARGS"] == variable


@pytest.mark.parametrize("pair", [("a=b", "c"), ("a", "b;IgnoreUnknown=1"), ("", "x"), (";", "")])
def test_args_cannot_smuggle(lab: Lab, pair: tuple[str, str]) -> None:
    """H36: libcni joins whatever it is given; we refuse what plugins would take apart otherwise."""
    with pytest.raises(InvalidParameters, match="; or ="):
        lab.runtime.add(network(lab.plugin("one")), attachment(args=(pair,)))
    assert lab.calls == []
