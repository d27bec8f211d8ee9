"""The iptables executables."""

from __future__ import annotations

import pytest

from dockercni.linux import iptables


def test_a_host_without_iptables(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is no iptables there are no rules of it, which is no error for who asks what is there."""
    monkeypatch.setenv("PATH", "/nowhere")
    assert [iptables.saved(command) for command in iptables.FAMILIES.values()] == [{}, {}]
