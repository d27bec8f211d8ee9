"""What is observed of a container, with everything below it replaced."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from dockercni.linux.netns_state import NetnsState
from dockercni.model import Attachment, NetnsId
from dockercni.reconcile.observation import Observation

ID = "c" * 64
OWN, LAB = NetnsId("boot", "1"), NetnsId("boot", "2")
RECORDED: Any = [
    SimpleNamespace(attachment=attachment, entry=None)
    for attachment in (
        Attachment("lan", ID, "eth0", OWN, complete=False),
        Attachment("lan", ID, "lan0", LAB, complete=False, path="/run/netns/lab"),
    )
]


@pytest.mark.parametrize("there", [LAB, None], ids=["exists", "is gone"])
@pytest.mark.parametrize("runs", [True, False])
def test_a_path_is_no_containers_namespace(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, there: NetnsId | None, runs: bool
) -> None:
    """A namespace attached by path under a container's id is never taken for the one that the container runs in.

    Else everything that the container has counts as left over from an earlier run, and is detached.
    """
    monkeypatch.setattr(NetnsState, "read", lambda _: NetnsState())
    sandboxes: Any = SimpleNamespace(
        netns_id=lambda *_: OWN,
        netns_id_at=lambda _: there,
        pinned=lambda _, living: living and living[1],
        pin_path=tmp_path.joinpath,
        inhabited=lambda *_, **__: False,
    )
    nothing: Any = SimpleNamespace(missing=lambda _: {}, broken=lambda _: {})
    namespace: Any = object() if runs else None
    observed = Observation(sandboxes, nothing, nothing, nothing).of(ID, None, namespace, RECORDED, None, thorough=True)
    assert observed.netns_id == observed.pinned == (OWN if runs else None)
    assert observed.paths == ({"/run/netns/lab": there} if there else {})
    assert observed.lives == (runs or there is not None)
