"""The plugins of the tests, where only root can change them: what others can change is not run."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from pathlib import Path

from dockercni.cni import trust

_CHECKED_OUT = Path(__file__).parents[1] / "plugins"


def _plugins() -> Path:
    """The directory itself, or a copy for this run where the sources are somebody's who is not root."""
    if os.geteuid() != 0 or not trust.flaw_of(_CHECKED_OUT / "noop"):
        return _CHECKED_OUT
    copy = Path(tempfile.mkdtemp(prefix="dockercni-plugins-"))
    atexit.register(shutil.rmtree, copy, ignore_errors=True)
    for plugin in _CHECKED_OUT.iterdir():
        shutil.copy(plugin, copy)  # which leaves the owner behind
    for plugin in copy.iterdir():
        plugin.chmod(0o755)
    return copy


PLUGINS = _plugins()
