"""The labels of the hold, and where holding is impossible."""

from __future__ import annotations

import pytest

from dockercni.errors import LabelError
from dockercni.linux import capabilities
from dockercni.model import Container
from dockercni.reconcile import labels
from dockercni.reconcile.labels import Holding

DEFAULT = Holding(10.0, "leave")


def _container(**ours: str) -> Container:
    found = {f"dockercni.{key.replace('_', '-')}": value for key, value in ours.items()}
    return Container("0" * 64, "web", running=False, labels=found)


@pytest.mark.parametrize(
    ("ours", "expected"),
    [
        ({}, DEFAULT),
        ({"hold": "off"}, Holding(0.0, "leave")),
        ({"hold": "500ms", "on_failure": "stop"}, Holding(0.5, "stop")),
        ({"on_failure": "hold"}, Holding(10.0, "hold")),
    ],
)
def test_labels_win(ours: dict[str, str], expected: Holding) -> None:
    """What a label says wins over the settings, and they over nothing."""
    assert labels.holding(_container(**ours), DEFAULT) == expected


@pytest.mark.parametrize("other", [{"netwroks": "lan"}, {"hold": "10"}, {"gateway": "?"}])
def test_what_is_malformed_takes_nothing_along(other: dict[str, str]) -> None:
    """A malformed label counts as missing for the hold, and what the others say counts: stop is stop."""
    assert labels.usable(_container(on_failure="stop", **other), DEFAULT) == Holding(10.0, "stop")


@pytest.mark.parametrize(
    ("ours", "problem"),
    [
        ({"hold": "10"}, 'must be "off" or a duration'),
        ({"hold": "on"}, 'must be "off" or a duration'),
        ({"on_failure": "halt"}, "must be leave, hold or stop"),
    ],
)
def test_malformed(ours: dict[str, str], problem: str) -> None:
    """A malformed label is an error of the container, which stays unattached."""
    with pytest.raises(LabelError, match=problem):
        labels.requests(_container(**ours))


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        ({}, ""),
        ({"/proc/self/status": "CapEff:\t00000000a80425fb"}, "CAP_SYS_PTRACE is missing"),
        ({"/proc/sys/kernel/yama/ptrace_scope": "3"}, "forbids all tracing"),
        ({"/proc/sys/kernel/yama/ptrace_scope": "1"}, ""),
        ({"/proc/self/attr/apparmor/current": "docker-default (enforce)"}, "confined"),
        ({"/proc/self/attr/apparmor/current": "a//&b (mixed)"}, "confined"),
        ({"/proc/self/attr/apparmor/current": "unconfined"}, ""),
        ({"/proc/self/attr/apparmor/current": "unconfined (complain)"}, ""),
        ({"/proc/self/attr/apparmor/current": "dockercni (complain)"}, ""),
        ({"/proc/self/attr/current": "system_u:system_r:container_t:s0:c1,c2"}, "confined"),
        ({"/proc/self/attr/current": "system_u:system_r:container_t:s0", "/sys/fs/selinux/enforce": "0"}, ""),
        ({"/proc/self/attr/current": "system_u:system_r:unconfined_service_t:s0"}, ""),
        ({"/proc/self/attr/current": "system_u:system_r:spc_t:s0"}, ""),
        ({"/proc/self/attr/current": "kernel"}, ""),
    ],
)
def test_obstacle(monkeypatch: pytest.MonkeyPatch, files: dict[str, str], reason: str) -> None:
    """Where the kernel would refuse the tracing or the execve, the reason is said, and nothing is held."""
    seen = {"/proc/self/status": "CapEff:\t000001ffffffffff"} | files
    monkeypatch.setattr(capabilities, "_read", lambda path: seen.get(path, ""))
    assert reason in capabilities.obstacle()
    assert bool(capabilities.obstacle()) == bool(reason)
    assert bool(capabilities.confinement()) == ("confined" in reason)  # which is what doctor says


SERVICE = "system_u:system_r:initrc_t:s0"
INIT = "system_u:system_r:init_t:s0"


@pytest.mark.parametrize(
    ("label", "init", "answer", "confined"),
    [
        (SERVICE, INIT, "83ffff ffffffff 0 ffffffff 1 0", False),
        (SERVICE, INIT, "0 ffffffff 0 ffffffff 1 0", True),
        (SERVICE, INIT, "", True),
        (SERVICE, "", "83ffff ffffffff 0 ffffffff 1 0", True),
        (SERVICE, "system_u:system_r:initrc_t:s0:c1", "83ffff ffffffff 0 ffffffff 1 0", True),
    ],
)
def test_selinux_is_asked(
    monkeypatch: pytest.MonkeyPatch, label: str, init: str, answer: str, *, confined: bool
) -> None:
    """A domain that the policy lets trace process 1, which is in another one, is not confined, whatever its name."""
    seen = {
        "/proc/self/attr/current": label,
        "/proc/1/attr/current": init,
        "/sys/fs/selinux/enforce": "1",
        "/sys/fs/selinux/class/process/index": "2",
        "/sys/fs/selinux/class/process/perms/ptrace": "8",
    }
    asked: list[str] = []

    def decide(question: str) -> str:
        asked.append(question)
        if not init:
            raise OSError
        return answer

    monkeypatch.setattr(capabilities, "_read", lambda path: seen.get(path, ""))
    monkeypatch.setattr(capabilities, "_decision", decide)
    assert bool(capabilities.confinement()) is confined
    assert asked in ([], [f"{label} {init} 2"])
