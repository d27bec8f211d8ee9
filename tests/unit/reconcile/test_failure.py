"""Whether an error is worth another try is decided in one place, and travels from the plugin to the work queue."""

from __future__ import annotations

import contextlib
import errno
from types import SimpleNamespace
from typing import Any, NoReturn

import pytest

from dockercni.cni import CacheEntry, CNIError
from dockercni.cni.errors import PluginError, PluginShortage
from dockercni.errors import DockercniError, LockHeld, Retry
from dockercni.linux.iptables import IptablesError
from dockercni.reconcile import detach, host_local_leases
from dockercni.reconcile.attach import Attacher, AttachFailed
from dockercni.reconcile.failure import Failure, retry_of
from dockercni.reconcile.firewall_rules import FirewallRules, RulesError
from dockercni.reconcile.host_half import HostError
from dockercni.reconcile.plan import Repair

PERMANENT = PluginError("odd", "DEL", "no such mode", code=7)
ENTRY = CacheEntry("lan", "c" * 64, "eth0", "/netns", b"{}")
LATER = PluginError("odd", "DEL", "not today", code=11)


def raising(error: Exception) -> Any:
    def fail(*_: object, **__: object) -> NoReturn:
        raise error

    return fail


@pytest.mark.parametrize(
    ("error", "retry"),
    [
        (PERMANENT, Retry.NEVER),
        (LATER, Retry.LATER),
        (PluginShortage("odd", "ADD", OSError(errno.EAGAIN, "no process")), Retry.SOON),
        (OSError(errno.EMFILE, "no descriptor"), Retry.SOON),
        (OSError(errno.ENODEV, "no link"), Retry.LATER),
        (IptablesError("no table"), Retry.LATER),
        (LockHeld("lock", "process 1"), Retry.OFTEN),
        (HostError("gone", Retry.NEVER), Retry.NEVER),
        (DockercniError("x"), Retry.NEVER),
    ],
)
def test_when_another_try_makes_sense(error: Exception, retry: Retry) -> None:
    """By the plugin's code, by what the kernel says, or as an error of ours says itself."""
    assert retry_of(error) is retry
    assert Failure.of(error).retry is retry


def test_a_roll_back_that_failed_is_tried_again() -> None:
    """What could not be rolled back is worth another try, even after a permanent error."""
    error = CNIError("no such mode", 7)
    error.add_note("taking it back failed too: busy")
    failure = AttachFailed.of(error)
    assert (failure.retry, failure.code, str(failure)) == (
        Retry.LATER,
        7,
        "no such mode; taking it back failed too: busy",
    )


def test_a_code_goes_through_several_parts() -> None:
    """What a plugin that is run again for its rules says is the code of the repair that failed."""
    assert AttachFailed.of(RulesError.of(PERMANENT)).code == 7


@pytest.mark.parametrize(("error", "retry"), [(PERMANENT, Retry.NEVER), (LATER, Retry.LATER)])
def test_del_and_repair_say_when(monkeypatch: pytest.MonkeyPatch, error: CNIError, retry: Retry) -> None:
    """A permanent error of a DEL, or of a repair, is not tried for ever."""
    record: Any = SimpleNamespace(entry=ENTRY)
    locks: Any = SimpleNamespace(host=contextlib.nullcontext)
    anything: Any = SimpleNamespace()
    attacher = Attacher(*[anything] * 3, locks, *[anything] * 5)
    monkeypatch.setattr(detach, "delete", raising(error))
    with pytest.raises(AttachFailed) as failed:
        attacher.detach(record, alive=True, lock=0)
    assert failed.value.retry is retry
    monkeypatch.setattr(host_local_leases, "repair", raising(error))
    with pytest.raises(AttachFailed) as failed:
        attacher.repair(record, Repair(record, "", store=("lease",)), None, 0)
    assert failed.value.retry is retry


@pytest.mark.parametrize(("error", "retry"), [(PERMANENT, Retry.NEVER), (LATER, Retry.LATER)])
def test_rules_say_when(monkeypatch: pytest.MonkeyPatch, error: CNIError, retry: Retry) -> None:
    """A plugin that is run again for its rules, and fails, says whether that makes sense once more."""
    monkeypatch.setattr("dockercni.reconcile.firewall_rules.repair.repair", raising(error))
    runtime: Any = SimpleNamespace()
    with pytest.raises(RulesError) as failed:
        FirewallRules(runtime).repair(ENTRY, ["nftables elements"], 0)
    assert failed.value.retry is retry
