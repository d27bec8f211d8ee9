"""What each release has written is read by this one; what a newer one will write is refused in plain words.

A release leaves a directory of its name here, with the state and the records of a host that has one container.
"""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import msgspec
import pytest

from dockercni import __version__, settings, status_file
from dockercni.cni import Cache, CacheEntry
from dockercni.cni.errors import EntryTooNew
from dockercni.reconcile import records, state
from dockercni.reconcile.history import History

HERE = Path(__file__).parent
RELEASES = sorted(path for path in HERE.iterdir() if re.fullmatch(r"[0-9.]+", path.name))
KINDS: dict[str, Any] = {
    "built-in-subnet.json": dict[str, str],
    "engine.json": dict[str, str],
    "first-start.json": dict[str, str],
}


@pytest.fixture(params=RELEASES, ids=lambda path: path.name)
def stored(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A copy of what a release has written."""
    return Path(shutil.copytree(request.param, tmp_path / "stored"))


def entry_of(stored: Path) -> Path:
    """The one record."""
    (file,) = (stored / "results").iterdir()
    return file


def test_this_release_has_its_directory() -> None:
    """No release goes out without what it writes."""
    assert __version__ in {path.name for path in RELEASES}


def test_records_are_read(stored: Path) -> None:
    """The attachment is complete, provably ours, and has what DEL needs."""
    (entry,) = Cache(stored).entries()
    assert isinstance(entry, CacheEntry)
    found = records.record(entry)
    assert found
    assert entry.complete
    assert (found.attachment.network, found.attachment.ifname) == ("dockercni", "eth0")
    assert records.addresses(entry) == ("10.22.0.2/16",)
    assert [plugin.type for plugin in entry.network_list().plugins] == ["bridge", "portmap", "firewall"]


def test_records_are_written_as_before(stored: Path) -> None:
    """An entry and a history that this version writes again have what the release wrote, for a downgrade to it."""
    cache, file = Cache(stored), entry_of(stored)
    (entry,) = cache.entries()
    before = json.loads(file.read_bytes())
    cache.write(entry)
    assert json.loads(file.read_bytes()) == before
    history = History(stored / "state" / "containers")
    (container_id,) = history.known()
    (past,) = history.recall(container_id)
    history.forget(container_id)
    history.remember(container_id, msgspec.structs.replace(past, served=entry.served))
    assert history.recall(container_id) == (past,)


def test_settings_are_read(stored: Path) -> None:
    """A file with every setting of that release is accepted; what was renamed since then has its value."""
    loaded = settings.load({}, {}, stored / "dockercni.toml")
    assert (loaded.backend, loaded.workers) == ("builtin", 8)
    assert set(loaded.origins.values()) == {str(stored / "dockercni.toml")}


def test_state_is_read(stored: Path) -> None:
    """Every file is of a known kind, and so is what is remembered of the container."""
    files = {path.name for path in (stored / "state").iterdir() if path.is_file()}
    assert files == set(KINDS)
    for name, kind in KINDS.items():
        assert state.read(stored / "state" / name, kind, None) is not None
    history = History(stored / "state" / "containers")
    (container_id,) = history.known()
    (past,) = history.recall(container_id)
    assert (past.ips, past.attached) == (("10.22.0.2/16",), True)


def test_the_heartbeat_is_read(stored: Path) -> None:
    """Commands of this release understand the file of a daemon that still runs the older one."""
    status = status_file.read(stored)
    assert status
    assert (status.reconciled_all, status.late, status.off) == (
        "2026-11-26T15:57:41Z",
        1,
        {"hold": "ptrace is not permitted"},
    )
    assert status.sentence == "failing: web: the engine does not answer"


def test_newer_state_is_refused(stored: Path) -> None:
    """A file with a higher schema is named, said to be newer, and left as it is; nothing is guessed from it."""
    for path in (stored / "state").rglob("*.json"):
        newer = path.read_bytes().replace(b'"schema":1', b'"schema":2')
        path.write_bytes(newer)
        with pytest.raises(state.StateError, match=rf"{path.name} was written by a newer version of dockercni"):
            state.read(path, KINDS.get(path.name, object), None)
        assert path.read_bytes() == newer


def test_newer_records_are_refused(stored: Path) -> None:
    """A record with a higher schema is an error that says so, and is nobody's to take back."""
    file = entry_of(stored)
    file.write_bytes(newer := file.read_bytes().replace(b'"schema":1', b'"schema":2'))
    (found,) = Cache(stored).broken()
    assert isinstance(found, EntryTooNew)
    assert "newer version" in str(found)
    assert file.read_bytes() == newer
