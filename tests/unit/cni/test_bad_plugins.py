"""Plugins that misbehave: one clear error, the chain taken back, and nothing left running or recorded."""

from __future__ import annotations

import os
import struct
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from dockercni.cni import CacheEntry, ExecRunner, NetworkList, PluginCall, PluginError, PluginTimeout, Runtime, invoke
from tests.hosts.waiting import wait_until
from tests.unit.cni.lab import Lab, attachment, network

GOOD = """echo '{"cniVersion":"1.1.0","ips":[{"address":"192.0.2.2/24"}]}'"""
HANG = "while :; do sleep 1000; done"
FLOOD = "head -c 100000000 /dev/zero"
# an executable for a machine that does not exist
ALIEN = b"\x7fELF\x02\x01\x01" + bytes(9) + struct.pack("<HHI", 2, 0xFFF0, 1) + bytes(44)


@dataclass
class Chain:
    """A network of a good plugin, the bad one, and another good one."""

    lab: Lab
    net: NetworkList
    pids: Path

    def write(self, text: str | bytes, mode: int = 0o755) -> Path:
        """Install the bad plugin: a shell script that does its worst at ADD only, or a whole file."""
        path = self.lab.bin / "bad"
        if isinstance(text, str):
            text = f'#!/bin/sh\n[ "$CNI_COMMAND" = ADD ] || exit 0\necho $$ >>{self.pids}\n{text}\n'.encode()
        path.write_bytes(text)
        path.chmod(mode)
        return path

    def add(self, timeout: float = 20) -> CacheEntry:
        """ADD within that time."""
        return Runtime(ExecRunner([self.lab.bin], timeout), self.lab.cache).add(self.net, attachment())

    def alive(self) -> list[str]:
        """Which of the processes that wrote their ids are still there (a zombie waits for nothing but its parent)."""
        found = []
        for pid in self.pids.read_text().split() if self.pids.exists() else ():
            try:
                state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
            except OSError:
                continue
            if state not in "ZX":
                found.append(pid)
        return found


@pytest.fixture
def chain(tmp_path: Path) -> Chain:
    """Without a bad plugin yet."""
    lab = Lab(tmp_path)
    return Chain(lab, network(lab.plugin("one"), "bad", lab.plugin("three")), tmp_path / "pids")


TAKEN_BACK = [("one", "ADD"), ("three", "DEL"), ("one", "DEL")]


@pytest.mark.parametrize(
    ("text", "code", "message"),
    [
        ("exit 0", 6, "printed no valid result: is empty"),
        ("echo '{'", 6, "printed no valid result: line 2, column 1: "),
        (
            """echo '{"cniVersion":"1.1.0","ips":[{"addr'""",
            6,
            "printed no valid result: line 1, column 36: invalid control character",
        ),
        ("echo '[]'", 6, "printed no valid result: must be an object, not []"),
        ("echo done", 6, "printed no valid result: line 1, column 1: expecting value"),
        (GOOD + "; echo again", 6, "printed no valid result: line 2, column 1: extra data"),
        ("""echo '{"ips":[{"address":"here"}]}'""", 6, 'printed no valid result: ips[0].address: "here" is not'),
        ("""echo '{"cniVersion":"9.9.9"}'""", 6, 'printed no valid result: cniVersion: "9.9.9" is not'),
        ("printf '\\377\\376\\000'", 6, "printed no valid result: "),
        ("echo oh no >&2; exit 1", 0, 'failed: "oh no" (exit status 1)'),
        ("exit 1", 0, "failed with no error message (exit status 1)"),
        ("""echo '{"code":4711,"msg":"mine"}'; exit 1""", 4711, "mine"),
        (GOOD + "; exit 1", 0, "failed (exit status 1), and what it printed is not a CNI error"),
        (GOOD + "; kill -SEGV $$", 0, "failed (killed by signal 11"),
        (FLOOD, 0, "printed more than 16 MiB and was killed"),
        (FLOOD + " >&2; exit 1", 0, "failed: "),
        (b"", 0, "cannot be started: it is not a program for this machine"),
        (ALIEN, 0, "cannot be started: it is not a program for this machine"),
        (b"#!/no/such/interpreter\n", 0, "cannot be started: its interpreter or loader does not exist"),
    ],
)
def test_the_chain_is_taken_back(chain: Chain, text: str | bytes, code: int, message: str) -> None:
    """Whatever a plugin does to fail, the error names it; no later plugin runs, all get DEL, no entry is left."""
    runs = isinstance(text, str)
    chain.write(text)
    with pytest.raises(PluginError) as error:
        chain.add()
    assert message in error.value.msg
    assert (error.value.code, error.value.plugin, error.value.verb) == (code, "bad", "ADD")
    assert len(error.value.stderr) <= invoke.STDERR_KEPT
    assert chain.lab.order == TAKEN_BACK
    assert chain.alive() == []
    if runs:
        assert chain.lab.cached == []
        assert not hasattr(error.value, "__notes__")
    else:  # its DEL cannot run either: the entry stays for whoever mends it
        assert len(chain.lab.cached) == 1


@pytest.mark.parametrize(
    "text",
    [
        HANG,
        f"trap '' TERM INT HUP; {HANG}",
        f"sh -c 'echo $$ >>PIDS; {HANG}' & {HANG}",
        f"exec >&-; {HANG}",
        f"exec >&- 2>&- <&-; {HANG}",
        f"{GOOD}; {HANG}",
        "while :; do echo noise >&2; done",
    ],
)
def test_a_plugin_that_never_ends_is_killed(chain: Chain, text: str) -> None:
    """A plugin that hangs, with or without output, children and open pipes, is killed with its children, and undone."""
    chain.write(text.replace("PIDS", str(chain.pids)))
    with pytest.raises(PluginTimeout) as error:
        chain.add(timeout=1)
    assert error.value.code == 11
    assert chain.lab.order == TAKEN_BACK
    assert chain.lab.cached == []
    wait_until(lambda: not chain.alive(), 5, "the plugin and its children to be gone", chain.alive)


def test_a_child_that_hangs_does_not_hold_us_up(chain: Chain) -> None:
    """A plugin that ends well counts at once, though a child keeps its output open; the child is killed."""
    chain.write(f"sh -c 'echo $$ >>{chain.pids}; {HANG}' & until [ $(wc -l <{chain.pids}) = 2 ]; do :; done; {GOOD}")
    assert str(chain.add(timeout=20).attached.ips[0].address) == "192.0.2.2/24"
    assert len(chain.pids.read_text().split()) == 2
    wait_until(lambda: not chain.alive(), 5, "the child to be gone", chain.alive)


def test_noise_on_stderr_is_no_failure(chain: Chain, caplog: pytest.LogCaptureFixture) -> None:
    """A plugin that writes 100 MB to stderr and succeeds has succeeded; the last of it alone is kept."""
    chain.write(f"{FLOOD} >&2; echo the end >&2; {GOOD}")
    with caplog.at_level("INFO", "dockercni.cni"):
        assert chain.add().attached.ips
    assert all(len(record.getMessage()) < invoke.STDERR_KEPT + 100 for record in caplog.records)
    assert caplog.records[0].getMessage().endswith("the end")


def test_without_the_run_bit_nothing_runs(chain: Chain) -> None:
    """A plugin that has no permission to run is refused before the first one runs, and nothing is recorded."""
    path = chain.write(GOOD, mode=0o644)
    with pytest.raises(PluginError, match="has no permission to run; chmod 0755 it") as error:
        chain.add()
    assert str(path) in str(error.value)
    assert (chain.lab.calls, chain.lab.cached) == ([], [])


@pytest.fixture
def writer(chain: Chain) -> int:
    """The bad plugin (which is a good one here) is open for writing, so the kernel does not start it."""
    path = chain.write(GOOD)
    fd = os.open(path, os.O_WRONLY)
    try:
        subprocess.run([path], check=False, capture_output=True, env={"CNI_COMMAND": "DEL"})
    except OSError:
        return fd
    os.close(fd)
    pytest.skip("this kernel (Linux 6.11 and 6.12 do) starts what is open for writing")


def test_a_plugin_that_is_being_written_is_waited_for(
    chain: Chain, writer: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A plugin that is just being installed is tried again, and served as soon as it is whole."""
    pauses: list[float] = []

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        os.close(writer)

    monkeypatch.setattr("dockercni.cni.invoke.time.sleep", pause)
    assert chain.add().attached.ips
    assert pauses == [1.0]
    assert chain.lab.order == [("one", "ADD"), ("three", "ADD")]


@pytest.mark.parametrize(("timeout", "tries"), [(60.0, 6), (0.5, 1)])
def test_a_plugin_that_stays_open_for_writing_fails(
    chain: Chain, writer: int, monkeypatch: pytest.MonkeyPatch, timeout: float, tries: int
) -> None:
    """After six tries, or when the time would not suffice for another one, that is what the error says."""
    pauses: list[float] = []
    monkeypatch.setattr("dockercni.cni.invoke.time.sleep", pauses.append)
    with pytest.raises(PluginError, match="it is still being written"):
        ExecRunner([chain.lab.bin], timeout).run(PluginCall("bad", "ADD", {}, {}))
    assert len(pauses) == tries - 1
    os.close(writer)


def test_a_plugin_that_reads_nothing_is_served(chain: Chain) -> None:
    """A configuration larger than any pipe does not block on a plugin that never reads it."""
    chain.write(GOOD)
    big = network({"type": "bad", "comment": "x" * 900_000})
    assert Runtime(chain.lab.runner, chain.lab.cache).add(big, attachment()).attached.ips


def test_nothing_is_left_open(chain: Chain) -> None:
    """Successes, failures, floods and what cannot start leave no descriptor open and no process running."""
    before = len(os.listdir("/proc/self/fd"))
    for text in (GOOD, "exit 1", FLOOD, b""):
        chain.write(text)
        for entry in chain.lab.cache.entries():
            chain.lab.cache.remove(entry)
        try:
            chain.add()
        except PluginError:
            continue
    assert len(os.listdir("/proc/self/fd")) == before
    assert chain.alive() == []
