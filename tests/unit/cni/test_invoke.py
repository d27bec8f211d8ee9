"""Running plugin executables: finding them, what they are given, and every way in which they fail."""

from __future__ import annotations

import json
import os
import stat
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dockercni.cni import ExecRunner, PluginCall, PluginError, PluginNotFound, PluginTimeout, invoke
from tests.hosts.programs import PLUGINS
from tests.hosts.waiting import wait_until

NOOP = PLUGINS


def run(*, timeout: float = 10.0, verb: str = "ADD", inherit: tuple[int, ...] = (), **says: Any) -> Any:
    """Run the no-op plugin, which is told what to do."""
    record = says.pop("record", None)
    config = {"cniVersion": "1.0.0", "name": "net", "type": "noop", "noop": {verb: says}}
    if record:
        config["record"] = str(record)
    environment = {"CNI_COMMAND": verb, "CNI_IFNAME": "eth0", "CNI_CONTAINERID": "id"}
    call = PluginCall("noop", verb, config, environment, inherit=inherit)
    return ExecRunner([NOOP], timeout).run(call)


def script(directory: Path, text: str, mode: int = 0o755) -> ExecRunner:
    """A runner of a directory with one plugin `mine`."""
    path = directory / "mine"
    path.write_text(text)
    path.chmod(mode)
    return ExecRunner([directory], 5)


CALL = PluginCall("mine", "ADD", {}, {})


def alive(pid: int) -> bool:
    """Whether a process is more than a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def test_result_and_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A plugin gets its configuration on stdin and the CNI variables of the call, none of ours, and no descriptor but
    those that it is to inherit."""
    monkeypatch.setenv("CNI_ARGS", "stray")
    reader, writer = os.pipe()
    result = run(record=tmp_path / "calls", inherit=(reader,))
    assert result["ips"][0]["address"] == "192.0.2.2/24"
    call = json.loads((tmp_path / "calls").read_text())
    assert call["env"] == {"CNI_COMMAND": "ADD", "CNI_IFNAME": "eth0", "CNI_CONTAINERID": "id"}
    assert call["stdin"]["name"] == "net"
    assert call["pgid"] == call["pid"] != os.getpgrp()
    assert call["fds"] <= 5  # the three, the inherited one, and the script itself
    os.close(reader)
    os.close(writer)


def test_stdin_that_nobody_reads(tmp_path: Path) -> None:
    """A plugin that never reads its configuration, however large, blocks nobody."""
    runner = script(tmp_path, "#!/bin/sh\necho '{}'\n")
    call = PluginCall("mine", "ADD", {"long": " " * (4 << 20)}, {})
    assert runner.run(call) == {}


@pytest.mark.parametrize(
    ("says", "message", "code"),
    [
        ({"fail": {"code": 11, "msg": "later", "details": "soon"}}, "later; soon", 11),
        ({"fail": {"code": 7, "msg": "bad"}}, "bad", 7),
        ({"print": "", "exit": 3}, "failed with no error message (exit status 3)", 0),
        ({"stderr": "oh dear", "print": "", "exit": 3}, 'failed: "oh dear" (exit status 3)', 0),
        (
            {"print": "garbage", "exit": 1},
            "failed (exit status 1), and what it printed is not a CNI error: 'garbage'",
            0,
        ),
        ({"print": "[]", "exit": 1}, "failed (exit status 1), and what it printed is not a CNI error: '[]'", 0),
        ({"print": '{"code": 3}', "exit": 1}, "failed with no error message (exit status 1)", 3),
        ({"print": '{"msg": "x", "code": "3"}', "exit": 1}, "x", 0),
        ({"signal": "SEGV"}, "killed by signal 11", 0),
        ({"signal": "KILL"}, "killed by signal 9", 0),
    ],
)
def test_failures(says: dict[str, Any], message: str, code: int) -> None:
    """A plugin's own error comes through; where it has none, what can be said stands in its place."""
    with pytest.raises(PluginError) as caught:
        run(**says)
    assert message in str(caught.value)
    assert str(caught.value).startswith('plugin "noop" failed (add): ')
    assert caught.value.code == code


def test_stderr_is_kept() -> None:
    """What a plugin says on stderr beside its error is kept; of a flood the last part."""
    with pytest.raises(PluginError) as caught:
        run(stderr="x" * 200_000 + " the end", fail={"msg": "no"})
    assert caught.value.stderr.endswith("the end")
    assert len(caught.value.stderr) <= 65536


@pytest.mark.parametrize("how", ["hang", "close_stdout_and_hang"])
def test_hang(tmp_path: Path, how: str) -> None:
    """A plugin that does not end is killed when its time is up, also if it closed its output."""
    began = time.monotonic()
    with pytest.raises(PluginTimeout, match=r"not finished after 0\.5 s"):
        run(timeout=0.5, record=tmp_path / "calls", **{how: True})
    assert time.monotonic() - began < 5
    assert not alive(json.loads((tmp_path / "calls").read_text())["pid"])


def test_child_that_keeps_the_output_open(tmp_path: Path) -> None:
    """When the plugin has ended its result counts at once, and the child that it left in its group is killed."""
    began = time.monotonic()
    result = run(timeout=30, record=tmp_path / "calls", fork_hang=True)
    assert time.monotonic() - began < 10
    assert result["cniVersion"] == "1.0.0"
    group = json.loads((tmp_path / "calls").read_text())["pid"]

    def members() -> list[int]:
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and alive(int(entry.name)):
                try:
                    if os.getpgid(int(entry.name)) == group:
                        found.append(int(entry.name))
                except OSError:
                    continue
        return found

    wait_until(lambda: not members(), 5, "the end of the group", members)


def test_flood() -> None:
    """A plugin that prints without end is killed, and little of it is kept."""
    with pytest.raises(PluginError, match="printed more than 16 MiB and was killed"):
        run(flood=64 << 20)


@pytest.mark.parametrize("size", [1, 65536, 1 << 20])
def test_large_result(size: int) -> None:
    """A result larger than a pipe holds comes through whole."""
    assert run(print=f'"{"x" * size}"') == "x" * size


def test_being_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An executable that is still being written (text file busy) is tried again, for a while."""
    monkeypatch.setattr(invoke, "_BUSY_PAUSE", 0.01)
    path = tmp_path / "mine"
    path.write_bytes(Path("/bin/true").read_bytes())
    path.chmod(0o755)
    runner = ExecRunner([tmp_path], 5)
    with path.open("ab"), pytest.raises(PluginError, match="mine cannot be started: it is still being written"):
        runner.run(CALL)
    writer = os.open(path, os.O_WRONLY)
    monkeypatch.setattr(invoke.time, "sleep", lambda _: os.close(writer))
    assert runner.run(replace(CALL, verb="DEL")) is None
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.close(writer)  # the second try it was


@pytest.mark.parametrize(
    ("text", "mode", "words"),
    [
        ("#!/bin/sh\n", 0o644, "no permission to run; chmod 0755 it"),
        ("\x7fELF but of no machine", 0o755, "not a program for this machine"),
        ("", 0o755, "not a program for this machine"),
        ("#!/no/such/interpreter\n", 0o755, "its interpreter or loader does not exist"),
    ],
)
def test_cannot_be_started(tmp_path: Path, text: str, mode: int, words: str) -> None:
    """Why an executable cannot be started is said in words, with its path."""
    with pytest.raises(PluginError, match=f"{tmp_path}/mine cannot be started: .*{words}"):
        script(tmp_path, text, mode).run(CALL)


def test_search(tmp_path: Path) -> None:
    """The first regular file of that name is taken; directories and what lies elsewhere are not; a missing plugin is
    an error that names all directories searched."""
    first, second = tmp_path / "1", tmp_path / "2"
    (first / "mine").mkdir(parents=True)
    second.mkdir()
    (second / "mine").touch()
    runner = ExecRunner([first, second])
    assert runner.find("mine") == second / "mine"
    assert runner.path == f"{first}:{second}"
    (first / "mine").rmdir()
    (first / "mine").symlink_to(second / "mine")
    assert runner.find("mine") == first / "mine"
    for name in ("", ".", "..", "other", "../2/mine", "a\0b"):
        with pytest.raises(PluginNotFound, match=f"searched {first}, {second}"):
            runner.find(name)


def test_noop_is_executable() -> None:
    """The plugin of the tests can be run (a checkout may lose that)."""
    assert (NOOP / "noop").stat().st_mode & stat.S_IXUSR
