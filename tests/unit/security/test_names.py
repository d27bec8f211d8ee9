"""Names from outside never lead out of the directories that are meant."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import pytest

from dockercni.cni import CacheEntry
from dockercni.docker.api import EventLine, Inspected, Listed
from dockercni.errors import DockercniError, UsageError
from dockercni.files import file_below
from dockercni.model import NetworkRequest
from dockercni.reconcile import ad_hoc, records
from dockercni.reconcile.history import History, PastAttachment
from dockercni.reconcile.locks import Locks
from dockercni.reconcile.sandbox import Sandboxes

if TYPE_CHECKING:
    from collections.abc import Callable

EVIL = ("", ".", "..", "../victim", "../../victim", "/victim", "a/../../victim", "a\0b", "a\n", " a", ".hidden", "-x")
BESIDE = {name for name in EVIL if "/" in name or "\0" in name or name in {"", ".", ".."}}  # that lead somewhere else
VICTIM = "precious"


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A directory of ours, with files of somebody else around it."""
    (directory := tmp_path / "a" / "run").mkdir(parents=True)
    for place in (tmp_path, tmp_path / "a", directory):
        (place / "victim").write_text(VICTIM)
        (place / "victim.json").write_text(VICTIM)
    return directory


def untouched(run: Path) -> bool:
    """Whether those files are as they were."""
    places = (run, run.parent, run.parent.parent)
    return all((place / name).read_text() == VICTIM for place in places for name in ("victim", "victim.json"))


def evil(name: str, run: Path) -> str:
    """The name; an absolute one is that of a file of the test."""
    return str(run / "victim") if name == "/victim" else name


@pytest.mark.parametrize("name", sorted(BESIDE))
def test_no_lock_lies_elsewhere(run: Path, name: str) -> None:
    """A lock that would lie elsewhere is refused, and nothing there is emptied or removed."""
    locks = Locks(run, 0.1)
    for kind in (locks.container, locks.bridge, lambda name: locks.ports([(name, 1)])):
        if name in {"", ".", ".."} and kind not in (locks.container, locks.bridge):
            continue  # these have the port's number behind them
        with pytest.raises(DockercniError, match="cannot lock"), kind(evil(name, run)):
            pass
    assert untouched(run)


@pytest.mark.parametrize("name", EVIL)
def test_no_memory_lies_elsewhere(run: Path, name: str) -> None:
    """What is no container's id has no memory, and cannot have any."""
    history = History(run / "containers")
    past = PastAttachment("lan", "eth0", (), "", "")
    uses: tuple[Callable[[str], object], ...] = (
        history.recall,
        lambda name: history.remember(name, past),
        history.forget,
    )
    for use in uses:
        with pytest.raises(DockercniError, match="is not the id of a container"):
            use(evil(name, run))
    assert untouched(run)


@pytest.mark.parametrize("name", EVIL)
def test_no_pin_lies_elsewhere(run: Path, name: str) -> None:
    """What is no container's id has no pin."""
    sandboxes = Sandboxes(client=None, directory=run, boot="boot")  # type: ignore[arg-type]
    for use in (sandboxes.pin_path, sandboxes.unpin, sandboxes.pinned):
        with pytest.raises(DockercniError, match="is not the id of a container"):
            use(evil(name, run))
    assert untouched(run)


def test_only_ids_are_read_from_directories(run: Path) -> None:
    """Files that do not bear a container's id are nobody's pin or memory."""
    for name in ("dockercni-web", "dockercni-", "dockercni-..", "dockercni-a b", "dockercni-é", "other"):
        (run / name).touch()
    for name in ("web.json", ".json", "...json", "a b.json"):
        (run / name).touch()
    assert list(Sandboxes(client=None, directory=run, boot="").pins()) == ["web"]  # type: ignore[arg-type]
    assert set(History(run).known()) == {"web", "victim"}


@pytest.mark.parametrize("name", EVIL)
def test_add_by_hand_takes_ids_only(run: Path, name: str) -> None:
    """`add ID PATH` refuses what cannot be an id before it looks at anything else."""
    with pytest.raises(UsageError, match="cannot be an id"):
        ad_hoc.add_to_path(None, None, evil(name, run), Path("/proc/self/ns/net"), NetworkRequest("", ""))  # type: ignore[arg-type]
    assert untouched(run)


@pytest.mark.parametrize(
    "wrong", [{"container_id": name} for name in EVIL] + [{"network": name} for name in EVIL] + [{"ifname": "../x"}]
)
def test_records_with_names_that_nobody_may_have(wrong: dict[str, str]) -> None:
    """A record that passes for ours, but under names that we would never have taken, is not ours."""
    right = {"network": "lan", "container_id": "web", "ifname": "eth0"}
    entry = {"netns": "", "config": b"", "owner": {}}
    assert records.record(CacheEntry(**{**right, **entry}))  # type: ignore[arg-type]
    assert records.record(CacheEntry(**{**right, **entry, **wrong})) is None  # type: ignore[arg-type]


@pytest.mark.parametrize("name", [*EVIL, "x" * 200])
def test_ids_of_the_engine(name: str) -> None:
    """An engine's answer with an id that could not be a file's name is not understood."""
    for kind, answer in (
        (Inspected, {"Id": name}),
        (Listed, {"Id": name}),
        (EventLine, {"Action": "start", "Actor": {"ID": name}, "timeNano": 1}),
    ):
        with pytest.raises(msgspec.ValidationError, match=r"`\$\.(Id|Actor\.ID)`"):
            msgspec.convert(answer, kind)


@pytest.mark.parametrize("name", sorted(BESIDE))
def test_file_below(run: Path, name: str) -> None:
    """A file below a directory is in that directory."""
    assert file_below(run, "a b.json").parent == run
    with pytest.raises(ValueError, match="is not the name of a file"):
        file_below(run, evil(name, run))
