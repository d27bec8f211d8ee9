"""What the engine asked the runtime for, and what else could be taken for it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from dockercni.docker import start_proof as proof_module
from dockercni.docker.start_proof import Proof, expected
from dockercni.linux import cgroups

if TYPE_CHECKING:
    from pathlib import Path

ID = "0" * 64


@pytest.mark.parametrize(
    ("path", "end"),
    [
        (f"/docker/{ID}", f"/docker/{ID}"),
        (f"docker/{ID}", f"/docker/{ID}"),
        (f"//a/../b/{ID}", f"/b/{ID}"),
        (f"system.slice:docker:{ID}", f"/system.slice/docker-{ID}.scope"),
        (f"a-b.slice:docker:{ID}", f"/a-b.slice/docker-{ID}.scope"),
        (f":docker:{ID}", f"/system.slice/docker-{ID}.scope"),
        (f"-.slice:docker:{ID}", f"/docker-{ID}.scope"),
    ],
)
def test_expected(path: str, end: str) -> None:
    """How a cgroup's path ends, for both drivers: a parent that is not absolute is below one that we do not know."""
    assert expected(path) == end


def test_arguments_are_no_proof(tmp_path: Path) -> None:
    """A process whose ancestor in the host's namespace says another id is not made for this container."""
    proof = Proof(str(tmp_path / "nobody.sock"))
    assert not proof.made(os.getpid(), ID, f"/docker/{ID}")
    assert not proof.made(0, ID, f"/docker/{ID}")
    assert not proof.made(1 << 22, ID, f"/docker/{ID}")


@pytest.mark.parametrize("events", ["populated 1\nfrozen 0\n", None])
def test_cgroup_of_crun(tmp_path: Path, events: str | None) -> None:
    """crun leaves the scope that systemd makes empty, and puts the processes into `container` below it."""
    (below := tmp_path / "container").mkdir()
    (tmp_path / "cgroup.procs").touch()
    (below / "cgroup.procs").write_text("7\n0\n8\n")
    if events:
        (tmp_path / "cgroup.events").write_text(events)
    directory = os.open(tmp_path, os.O_RDONLY)
    try:
        assert list(cgroups.processes(directory)) == [7, 8]
        assert cgroups.populated(directory)
        (below / "cgroup.procs").write_text("")
        (tmp_path / "cgroup.events").write_text("populated 0\n")
        assert not cgroups.populated(directory)
        (tmp_path / "cgroup.events").unlink()
        assert not cgroups.populated(directory)
    finally:
        os.close(directory)


def test_an_engine_that_was_started_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """The namespace of an engine that is gone proves nothing, as the kernel may give its inode to a container's."""
    engines = iter([(1, 5), (1, 6), (1, 6)])
    monkeypatch.setattr(proof_module, "_ASK_AGAIN", 0.0)
    monkeypatch.setattr(proof_module, "_listener", lambda _: 1)
    monkeypatch.setattr(proof_module, "_first", lambda: (0, 0))
    proof = Proof("engine.sock")
    for namespace, theirs in (((1, 5), True), ((1, 5), False), ((1, 6), True)):
        found = {os.getpid(): (0, 0), 1: next(engines)}
        monkeypatch.setattr(proof_module.runc_stages, "mount_namespace", found.__getitem__)
        assert proof._is_hosts(namespace) is theirs
