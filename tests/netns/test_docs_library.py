"""The examples of docs/library.md: each block runs, in order, as root of a private host."""

from __future__ import annotations

import ast
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import dockercni.cni
from tests.hosts import Host
from tests.netns.hosted import USUAL, plugin_directory

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "library.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)


@pytest.fixture
def host() -> Iterator[Host]:
    """A private host with the namespace of the example, and a configuration directory."""
    if os.geteuid() != 0:
        pytest.skip("needs root")
    with Host() as started:
        started.run("ip", "netns", "add", "example")
        started.write("/etc/cni/net.d/10-good.conflist", '{"name":"good","plugins":[{"type":"bridge"}]}')
        started.write("/etc/cni/net.d/20-broken.conflist", '{"name":"broken",\n"plugins":[{"type":1}]}')
        yield started


def test_every_block_runs(host: Host) -> None:
    """Copied one after the other into a program, the blocks of the document run and say what they should."""
    assert str(plugin_directory()) in USUAL
    host.write("/run/example.py", "\n".join(BLOCKS))
    done = host.run(sys.executable, "/run/example.py", env={"PYTHONPATH": str(ROOT)}, check=False)
    assert done.returncode == 0, done.stderr
    said = done.stdout.splitlines()
    assert said[0] == "addresses: 10.99.0.2/24"
    assert said[1:3] == [
        "good 0.1.0 bridge",
        "not usable: /etc/cni/net.d/20-broken.conflist:2:20: plugins[0].type: must be a string, not 1",
    ]
    assert said[3].startswith('50 plugin "absent" not found; searched ')
    assert len(said) == 4
    assert not list(host.path("/var/lib/cni/results").iterdir())
    assert host.run("ip", "-netns", "example", "link", "show", "eth0", check=False).returncode != 0


def test_every_public_name_has_a_docstring() -> None:
    """What `dockercni.cni` exports says what it is, and so does every public member of it."""
    bare = []
    for path in sorted((ROOT / "dockercni" / "cni").glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.ClassDef | ast.FunctionDef) or node.name.startswith("_"):
                continue
            if not ast.get_docstring(node):
                bare.append(f"{path.name}: {node.name}")
    assert bare == []
    assert all(hasattr(dockercni.cni, name) for name in dockercni.cni.__all__)


@pytest.mark.parametrize("kind", [name for name in dockercni.cni.__all__ if re.search(r"Error$|^Plugin|TooNew", name)])
def test_every_error_is_in_the_document(kind: str) -> None:
    """The document mentions each error class, and each class that a runner deals with."""
    assert f"`{kind}`" in TEXT or re.search(rf"\b{kind}\b", "\n".join(BLOCKS))
