"""dockercni.plugins as executables: what any runtime sees of them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from dockercni.plugins.__main__ import named
from dockercni.plugins.table import PLUGINS

if TYPE_CHECKING:
    from collections.abc import Sequence

ROOT = Path(__file__).parents[3]
COMMAND = (sys.executable, "-m", "dockercni.plugins")


def run(argv: Sequence[str], conf: Any = None, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a program with CNI_ variables."""
    env = {key: value for key, value in os.environ.items() if not key.startswith("CNI_")}
    env |= {"PYTHONPATH": str(ROOT), **{f"CNI_{key}": value for key, value in environment.items()}}
    stdin = "" if conf is None else json.dumps(conf)
    return subprocess.run(argv, check=False, capture_output=True, text=True, input=stdin, env=env, cwd=ROOT)


ATTACHMENT = {"CONTAINERID": "c1", "NETNS": "/nowhere", "IFNAME": "eth0", "PATH": "/nowhere"}


@pytest.mark.parametrize("argv", [COMMAND, (sys.executable, "-m", "dockercni", "plugin")])
@pytest.mark.parametrize("kind", PLUGINS)
def test_version(argv: Sequence[str], kind: str) -> None:
    """VERSION tells what the table says, whatever is on stdin."""
    done = run([*argv, kind], "nonsense", COMMAND="VERSION")
    assert json.loads(done.stdout) == {"cniVersion": "1.1.0", "supportedVersions": list(PLUGINS[kind][1])}
    assert (done.returncode, done.stderr) == (0, "")


def test_version_imports_next_to_nothing() -> None:
    """VERSION costs no more than the interpreter and a few small modules."""
    program = (
        "import sys; before = set(sys.modules); from dockercni.plugins.__main__ import serve; serve('bridge');"
        "print(*sorted(set(sys.modules) - before), file=sys.stderr)"
    )
    loaded = set(run([sys.executable, "-c", program], COMMAND="VERSION").stderr.split())
    assert {each for each in loaded if each.startswith("dockercni")} == {
        "dockercni",
        "dockercni.cni",
        "dockercni.cni.errors",
        "dockercni.cni.versions",
        "dockercni.plugins",
        "dockercni.plugins.__main__",
        "dockercni.plugins.table",
    }
    assert not loaded & {"dataclasses", "json", "subprocess", "argparse", "ipaddress", "pathlib", "structlog"}


def test_addressing_imports_no_library(tmp_path: Path) -> None:
    """An ADD of host-local needs neither a library from outside nor what starts processes."""
    program = (
        "import sys; from dockercni.plugins.__main__ import serve; serve('host-local');"
        "print(*sorted(sys.modules), file=sys.stderr)"
    )
    ipam = {"type": "host-local", "subnet": "10.1.0.0/24", "dataDir": str(tmp_path)}
    done = run(
        [sys.executable, "-c", program],
        {"cniVersion": "1.0.0", "name": "net", "ipam": ipam},
        COMMAND="ADD",
        **ATTACHMENT,
    )
    assert json.loads(done.stdout)["ips"][0]["address"] == "10.1.0.2/24"
    loaded = set(done.stderr.split())
    assert not loaded & {"subprocess", "pyroute2", "structlog", "msgspec", "docker", "ctypes", "pathlib", "traceback"}


def test_result_is_indented(tmp_path: Path) -> None:
    """A result is printed as the Go skeleton prints it."""
    ipam = {"type": "host-local", "subnet": "10.1.0.0/24", "dataDir": str(tmp_path)}
    conf = {"cniVersion": "1.0.0", "name": "net", "type": "bridge", "ipam": ipam}
    done = run([*COMMAND, "host-local"], conf, COMMAND="ADD", **ATTACHMENT)
    assert done.stdout == (
        '{\n    "cniVersion": "1.0.0",\n    "ips": [\n        {\n            "address": "10.1.0.2/24",\n'
        '            "gateway": "10.1.0.1"\n        }\n    ]\n}'
    )
    done = run([*COMMAND, "host-local"], conf, COMMAND="DEL", **ATTACHMENT)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_error_is_on_stdout() -> None:
    """An error is a JSON object on stdout, and exit code 1."""
    done = run([*COMMAND, "static"], COMMAND="ADD")
    text = "required env variables [CNI_CONTAINERID,CNI_NETNS,CNI_IFNAME,CNI_PATH] missing"
    assert (done.returncode, done.stdout) == (1, f'{{\n    "code": 4,\n    "msg": "{text}"\n}}')


def test_without_command() -> None:
    """Started by a human, a plugin says what it is."""
    done = run([*COMMAND, "static"])
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr.splitlines() == [
        "CNI plugin static of dockercni",
        f"CNI protocol versions supported: {', '.join(PLUGINS['static'][1])}",
    ]


def test_usage() -> None:
    """A plugin that does not exist is a usage error."""
    done = run([*COMMAND, "dhcp"], COMMAND="VERSION")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("usage: dockercni plugin {")
    done = run([sys.executable, "-m", "dockercni", "plugin", "dhcp"], COMMAND="VERSION")
    assert (done.returncode, done.stdout) == (2, "")
    assert "there is no built-in plugin 'dhcp'" in done.stderr


def test_link(tmp_path: Path) -> None:
    """A link named dockercni-PLUGIN to our program is that plugin."""
    program = tmp_path / "dockercni"
    program.write_text(f"#!{sys.executable}\nimport sys\nfrom dockercni.__main__ import main\nsys.exit(main())\n")
    program.chmod(0o755)
    (tmp_path / "dockercni-host-local").symlink_to(program)
    done = run([str(tmp_path / "dockercni-host-local")], COMMAND="ADD")
    assert json.loads(done.stdout)["code"] == 4
    assert "usage: dockercni version" in run([str(program), "version", "--help"]).stdout


@pytest.mark.parametrize(
    ("argv", "plugin"),
    [
        (["/usr/bin/dockercni", "plugin", "static"], "static"),
        (["/opt/cni/bin/dockercni-static"], "static"),
        (["dockercni-static", "ignored"], "static"),
        (["dockercni"], ""),
        (["dockercni", "plugin"], ""),
        (["dockercni", "plugin", "dhcp"], ""),
        (["dockercni", "plugin", "static", "--help"], ""),
        (["dockercni", "ps", "static"], ""),
        (["dockercni-dhcp"], ""),
    ],
)
def test_named(argv: list[str], plugin: str) -> None:
    """What a command line means is told by the program's name, or by the word behind `plugin`."""
    assert named(argv) == plugin


def test_delegates_to_executables(tmp_path: Path) -> None:
    """What is not native is found in CNI_PATH; a defect is told on stderr and is an error with code 999."""
    ipam = tmp_path / "fake"
    ipam.write_text('#!/bin/sh\necho \'{"code": 123, "msg": "no lease"}\'; exit 1\n')
    ipam.chmod(0o755)
    program = (
        "import sys; from dockercni.plugins import static, ipam, executable\n"
        "static.add = ipam.add if sys.argv[1] == 'delegate' else lambda _: {}['key']\n"
        "sys.exit(executable.run('static', 'ADD'))"
    )
    conf = {"cniVersion": "1.0.0", "name": "net", "ipam": {"type": "fake"}}
    argv = [sys.executable, "-c", program]
    environment = {**ATTACHMENT, "PATH": f"/nowhere:{tmp_path}"}
    done = run([*argv, "delegate"], conf, COMMAND="ADD", **environment)
    assert (done.returncode, json.loads(done.stdout)) == (1, {"code": 123, "msg": "no lease"})
    done = run([*argv, "defect"], conf, COMMAND="ADD", **environment)
    text = "KeyError: 'key'"
    assert (done.returncode, json.loads(done.stdout)) == (1, {"code": 999, "msg": text})
    assert "Traceback" in done.stderr


KEYS: dict[str, dict[str, Any]] = {
    "bridge": {"ipMasqBackend": "iptables"},
    "portmap": {"markMasqBit": 3},
    "firewall": {"backend": "firewalld"},
    "tuning": {"sysctls": {}},
    "host-local": {"ipam": {"type": "host-local", "subnet": "10.1.0.0/24", "rangeBegin": "10.1.0.9"}},
    "static": {"ipam": {"type": "static", "adresses": []}},
    "loopback": {"isGateWay": True},
}


@pytest.mark.parametrize("verb", ["ADD", "STATUS"])
@pytest.mark.parametrize("kind", PLUGINS)
def test_what_it_cannot_do(kind: str, verb: str) -> None:
    """A key that asks for what the plugin does not do is refused with code 2, and named; comments are nobody's keys."""
    conf = {"cniVersion": "1.1.0", "name": "net", "type": kind, "_comment": "", "org.example": 1, **KEYS[kind]}
    done = run([*COMMAND, kind], conf, COMMAND=verb, **ATTACHMENT)
    assert done.returncode == 1
    error = json.loads(done.stdout)
    key = [*KEYS[kind].get("ipam", KEYS[kind])][-1]
    assert (error["code"], key in error["msg"]) == (2, True), error


@pytest.mark.parametrize("kind", ["bridge", "host-local", "tuning"])
def test_what_it_could_not_do_is_taken_back(kind: str, tmp_path: Path) -> None:
    """DEL takes back whatever the configuration says by now."""
    ipam = {"type": "host-local", "subnet": "10.1.0.0/24", "dataDir": str(tmp_path), "odd": 1}
    conf = {"cniVersion": "1.0.0", "name": "net", "type": kind, "odd": 1, "ipam": ipam if kind == "host-local" else {}}
    done = run([*COMMAND, kind], conf, COMMAND="DEL", **ATTACHMENT)
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize(
    "sysctls",
    [
        '{"net.ipv4.conf.IFNAME.arp_notify": "1", "net.ipv4.conf.IFNAME.arp_notify": "0"}',
        '{"net.ipv4.conf.IFNAME.arp_notify": "1", "net/ipv4/conf/eth0/arp_notify": "0"}',
    ],
)
def test_one_sysctl_twice(sysctls: str) -> None:
    """Two values for one sysctl are refused with code 7, in the same spelling or another."""
    conf = f'{{"cniVersion": "1.0.0", "name": "net", "type": "tuning", "sysctl": {sysctls}, "prevResult": {{}}}}'
    env = {"PYTHONPATH": str(ROOT), "CNI_COMMAND": "ADD", **{f"CNI_{key}": each for key, each in ATTACHMENT.items()}}
    done = subprocess.run([*COMMAND, "tuning"], check=False, capture_output=True, text=True, input=conf, env=env)
    error = json.loads(done.stdout)
    assert error["code"] == 7
    assert "duplicated sysctl keys" in error["msg"]
