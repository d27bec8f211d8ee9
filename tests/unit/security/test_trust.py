"""What others than root can change is not obeyed: configurations, programs, records, leases, settings."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from dockercni import settings
from dockercni.cni import EXEC, Cache, CNIError, ExecRunner, load_directory, parse_list, trust
from dockercni.cni.runner import PluginCall
from dockercni.commands.diagnosis import networks
from dockercni.errors import EngineUnavailable, SettingsError
from dockercni.plugins import leases
from dockercni.plugins.dispatch import Dispatch
from tests.unit.plugins.asking import Executables, call

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

NETWORK = json.dumps({"cniVersion": "1.0.0", "name": "lan", "plugins": [{"type": "plugin"}]})


def writable(path: Path) -> None:
    """Everybody may write."""
    path.chmod(path.stat().st_mode | 0o002)


def groups(path: Path) -> None:
    """A group that is not root's may write."""
    path.chmod(path.stat().st_mode | 0o020)
    os.chown(path, 0, 12345)


def somebodys(path: Path) -> None:
    """It belongs to somebody else."""
    os.chown(path, 12345, 0)


BAD = (writable, groups, somebodys)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A directory with a network, a plugin and a record."""
    if os.geteuid() != 0:
        pytest.skip("needs root")
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "lan.conflist").write_text(NETWORK)
    (tmp_path / "etc" / "lan").mkdir()
    (tmp_path / "etc" / "lan" / "more.conf").write_text('{"type": "more"}')
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "plugin").write_text("#!/bin/sh\n")
    (tmp_path / "bin" / "plugin").chmod(0o755)
    (tmp_path / "cache" / "results").mkdir(parents=True)
    return tmp_path


@pytest.mark.parametrize("spoil", BAD)
@pytest.mark.parametrize("what", ["etc", "etc/lan.conflist", "etc/lan", "etc/lan/more.conf", "."])
def test_configurations(place: Path, what: str, spoil: Callable[[Path], None]) -> None:
    """A configuration that others can change, or a directory above it, is broken, and says what mends it."""
    assert not load_directory(place / "etc").broken
    spoil(place / what)
    (error,) = load_directory(place / "etc").broken
    words = "chown root" if spoil is somebodys else "chmod go-w"
    assert f"{words} {(place / what).resolve()}" in str(error)


@pytest.mark.parametrize("spoil", BAD)
@pytest.mark.parametrize("what", ["bin", "bin/plugin"])
def test_programs(place: Path, what: str, spoil: Callable[[Path], None]) -> None:
    """A plugin that others can change, or put another one in the place of, is not run."""
    network = parse_list(NETWORK.encode())
    runner = ExecRunner([place / "bin"])
    spoil(place / what)
    with pytest.raises(CNIError, match=f"cannot be started: .*{what} "):
        runner.choose(network, network.plugins[0])


@pytest.mark.parametrize("what", [["bin", "bin/plugin"], ["bin/plugin"], ["bin"]])
def test_an_archive_unpacked_with_its_owner(place: Path, what: list[str]) -> None:
    """Programs that tar gave to whoever packed them are refused with the one command that mends all of them."""
    network = parse_list(NETWORK.encode())
    runner = ExecRunner([place / "bin"])
    for each in what:
        somebodys(place / each)
    with pytest.raises(CNIError, match=rf"--no-same-owner: chown -R root {place}/bin$"):
        runner.choose(network, network.plugins[0])
    with pytest.raises(CNIError, match=rf"--no-same-owner: chown -R root {place}/bin$"):
        runner.run(PluginCall("plugin", "VERSION", {}, {}, EXEC))
    if "bin" in what:
        assert trust.flaw_of_program(place / "bin").endswith(f": chown -R root {place}/bin")
    for each in what:
        os.chown(place / each, 0, 0)
    somebodys(place)
    assert trust.flaw_of_program(place / "bin" / "plugin").endswith(f"belongs to another user: chown root {place}")


@pytest.mark.parametrize("spoil", BAD)
def test_records_and_leases(place: Path, spoil: Callable[[Path], None]) -> None:
    """Records are not read and leases not given where others can write."""
    spoil(place / "cache" / "results")
    (found,) = Cache(place / "cache").broken()
    assert "results (mode" in str(found)
    (place / "leases" / "lan").mkdir(parents=True)
    spoil(place / "leases" / "lan")
    with pytest.raises(PermissionError, match="lan "), leases.locked(str(place / "leases"), "lan"):
        pass


@pytest.mark.parametrize("spoil", BAD)
@pytest.mark.parametrize("plugin", ["bridge", "host-local"])
@pytest.mark.parametrize("what", ["leases/lan", "leases"])
def test_leases_of_executables(place: Path, plugin: str, what: str, spoil: Callable[[Path], None]) -> None:
    """Nor does an executable give a lease where others can write; what it gave before is given back."""
    (place / "leases" / "lan").mkdir(parents=True)
    ipam = {"type": "host-local", "dataDir": str(place / "leases")}
    conf = {"cniVersion": "1.0.0", "name": "lan", "type": plugin, "ipam": ipam}
    executables = Executables(answer={"cniVersion": "1.0.0"})
    dispatch = Dispatch(executables, "exec")
    dispatch.run(replace(call("ADD", conf), backend=EXEC))
    spoil(place / what)
    with pytest.raises(CNIError, match=f"host-local: .*{what} "):
        dispatch.run(replace(call("ADD", conf), backend=EXEC))
    dispatch.run(replace(call("DEL", conf), backend=EXEC))
    assert [each.verb for each in executables.calls] == ["ADD", "DEL"]
    (place / "etc" / "lan.conflist").write_text(json.dumps({"cniVersion": "1.0.0", "name": "lan", "plugins": [conf]}))
    given = settings.load({"cni-conf-dir": str(place / "etc")}, {}, settings.DEFAULT_FILE)
    (told,) = (one for one in networks.findings(given, Unreachable()) if one.subject == "trust")  # type: ignore[arg-type]
    assert f"{what} (mode" in told.what
    assert told.fix.endswith(str(place / what))


class Unreachable:
    """An engine that does not answer."""

    def networks(self) -> None:
        raise EngineUnavailable("no engine")


@pytest.mark.parametrize("spoil", BAD)
def test_settings(place: Path, spoil: Callable[[Path], None]) -> None:
    """Nor is a settings file obeyed."""
    file = place / "dockercni.toml"
    file.write_text('attach = "all"\n')
    settings.load({}, {}, file)
    other = place / "other.toml"
    other.write_text('attach = "all"\n')
    spoil(other)
    with pytest.raises(SettingsError, match=r"other.toml: not obeyed: .*other\.toml \(mode 0"):
        settings.load({}, {}, other)


def test_links_and_sticky_directories(place: Path) -> None:
    """A link counts as what it leads to, and by who can change it; in a sticky directory nobody changes others' files,
    but everybody adds some."""
    (place / "link").symlink_to(place / "etc")
    assert trust.flaw_of(place / "link") == ""
    os.chown(place / "link", 12345, 12345, follow_symlinks=False)
    assert "link (mode" in trust.flaw_of(place / "link")
    (place / "etc").chmod(0o1777)
    assert "etc (mode 1777" in trust.flaw_of(place / "etc")
    assert trust.flaw_of(place / "etc" / "lan.conflist") == ""
    assert trust.flaw_of(place / "missing" / "file") == ""


def test_believed_for_a_moment(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was seen to be fine is not looked at again within a second."""
    now = 1e9
    monkeypatch.setattr(trust.time, "monotonic", lambda: now)
    trust.refuse(place / "etc")
    writable(place / "etc")
    trust.refuse(place / "etc")
    now += 1.1
    with pytest.raises(PermissionError):
        trust.refuse(place / "etc")
