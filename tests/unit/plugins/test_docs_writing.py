"""The plugin of docs/writing-plugins.md, run as the executable that it is."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[3]
TEXT = (ROOT / "docs" / "writing-plugins.md").read_text(encoding="utf-8")


def call(tmp_path: Path, verb: str, **more: Any) -> tuple[int, str]:
    """One verb of the plugin: exit code, and what it printed."""
    (found,) = re.findall(r"^```python\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
    variables = {
        "CNI_COMMAND": verb,
        "CNI_CONTAINERID": "web",
        "CNI_NETNS": "/proc/1/root/nowhere",
        "CNI_IFNAME": "eth0",
        "CNI_PATH": "/nowhere",
        "PYTHONPATH": str(ROOT),
    }
    config = {"cniVersion": "1.0.0", "name": "lan", "type": "address-file", "directory": str(tmp_path), **more}
    done = subprocess.run(
        [sys.executable, "-c", found],
        input=json.dumps(config),
        env=os.environ | variables,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout


def test_every_verb(tmp_path: Path) -> None:
    """ADD hands the result on and leaves the file, CHECK looks for it, DEL removes it, also twice; errors are JSON."""
    previous = {"cniVersion": "1.0.0", "ips": [{"address": "10.1.0.5/16"}]}
    assert json.loads(call(tmp_path, "VERSION")[1])["supportedVersions"][-1] == "1.1.0"
    code, printed = call(tmp_path, "ADD", prevResult=previous)
    assert (code, json.loads(printed)["ips"]) == (0, previous["ips"])
    assert (tmp_path / "web-eth0").read_text() == "10.1.0.5/16"
    assert call(tmp_path, "CHECK", prevResult=previous)[0] == 0
    assert call(tmp_path, "DEL")[0] == call(tmp_path, "DEL")[0] == 0
    assert list(tmp_path.iterdir()) == []
    code, printed = call(tmp_path, "CHECK", prevResult=previous)
    assert (code, "is gone" in json.loads(printed)["msg"]) == (1, True)
    code, printed = call(tmp_path, "ADD")
    assert (code, "must be chained" in json.loads(printed)["msg"]) == (1, True)
