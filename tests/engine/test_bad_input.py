"""Bad input, as a user gives it: one clear line, the right exit code, and nothing half done."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from tests.engine.test_commands import NET, network
from tests.hosts import IMAGE, Host, leftovers

if TYPE_CHECKING:
    import subprocess

Cli = Callable[..., "subprocess.CompletedProcess[str]"]
LAN = network("lan", "10.1.0.0/24")


def run(host: Host, name: str, *flags: str) -> None:
    """Start a container that has to get its networks from dockercni."""
    host.docker("run", "--detach", f"--name={name}", "--network=none", *flags, IMAGE)


def unharmed(host: Host, *names: str) -> None:
    """These containers have no interface, and no lease, link, rule or record was left for them."""
    for name in names:
        assert host.container(name).run("ls", "/proc/sys/net/ipv4/conf").stdout.split() == ["all", "default", "lo"]
    assert [line for line in leftovers(host) if not line.startswith("pin ")] == []


def said(done: subprocess.CompletedProcess[str]) -> str:
    """What a command printed; never a traceback."""
    assert "Traceback" not in done.stderr, done.stderr
    return done.stdout + done.stderr


BROKEN = [
    ("comment", '{\n  // mine\n  "name": "bad"\n}', "05-bad.conflist:2:3: ", "JSON has no comments"),
    ("unterminated", '{"name": "bad', "05-bad.conflist:1:10: ", "unterminated string"),
    ("version", LAN.replace("1.0.0", "9.2.0").replace('"lan"', '"bad"'), "cniVersion: ", '"9.2.0" is not a version'),
    (
        "wrong type",
        '{"name": "bad", "plugins": [{"type": "bridge", "ipam": 7}]}',
        "plugins[0].ipam: ",
        "an object, not 7",
    ),
    ("no plugins", '{"name": "bad", "plugins": []}', "plugins: ", "no plugins"),
    ("name", '{"name": "b/d", "plugins": [{"type": "bridge"}]}', "name: ", "invalid characters"),
    ("twice", LAN, "20-lan.conflist", "is already defined by"),
    ("not utf-8", "\x00\x01", "05-bad.conflist", ""),
]


@pytest.mark.parametrize(("text", "place", "words"), [row[1:] for row in BROKEN], ids=[row[0] for row in BROKEN])
def test_a_broken_file(host: Host, cli: Cli, text: str, place: str, words: str) -> None:
    """The file, and line and column or key, with what is wrong; who needs the default waits, the other file serves."""
    host.write(f"{NET}/05-bad.conflist", text)
    host.write(f"{NET}/20-lan.conflist", LAN)
    run(host, "default")
    run(host, "lan", "--label=dockercni.networks=lan")
    done = cli("sync")
    assert done.returncode == (0 if text == LAN else 4)
    listed = cli("networks")
    assert listed.returncode == 1
    assert place in said(listed)
    assert words in said(listed)
    assert len(listed.stderr.splitlines()) <= 2
    assert "ADD lan lan eth0 10.1.0." in said(done)
    if text != LAN:
        assert "05-bad.conflist" in said(done)
        assert "the default network cannot be used" in said(done)
        host.docker("rm", "--force", "lan")
        cli("sync")
        unharmed(host, "default")
        wrong = cli("networks", "validate", f"{NET}/05-bad.conflist", f"{NET}/20-lan.conflist")
        assert wrong.returncode == 1
        assert words in wrong.stdout
        assert f"{NET}/20-lan.conflist: network lan, CNI 1.0.0" in wrong.stdout


@dataclass(frozen=True)
class Row:
    """Flags of a container, and what is said of it."""

    name: str
    words: str
    labels: tuple[str, ...] = ()
    flags: tuple[str, ...] = field(default=())


ROWS = [
    Row(
        "unknown-label",
        "label dockercni.netwrks=lan: unknown label; did you mean dockercni.networks?",
        ("netwrks=lan",),
    ),
    Row("no-network", 'there is no network "nowhere" (known: lan, wan)', ("networks=nowhere",)),
    Row("same-ifname", 'two interfaces would be named "eth0"', ("networks=lan@eth0,wan@eth0",)),
    Row("same-default-ifname", 'two interfaces would be named "eth1"', ("networks=lan@eth1,wan",)),
    Row("long-ifname", '"averyverylongname" is not an interface name', ("networks=lan@averyverylongname",)),
    Row("loopback", 'the interface "lo" is there already', ("networks=lan@lo",)),
    Row("no-address", '"10.1.0" is not an IP address', ("ip=10.1.0",)),
    Row("prefix", "an address without a prefix length is asked for", ("ip=10.1.0.9/24",)),
    Row("two-addresses", "two IPv4 addresses; one for each family", ("ip=10.1.0.9,10.1.0.10",)),
    Row("other-network", "the container does not ask for that network", ("networks=lan", "ip.wan=10.2.0.9")),
    Row("which-network", "say which, as in dockercni.ip.lan", ("networks=lan,wan", "ip=10.1.0.9")),
    Row("multicast-mac", "a multicast or zero address", ("mac=01:00:00:00:00:01",)),
    Row("no-mac", "not a MAC address such as 02:42", ("mac=02:42",)),
    Row("args", '"IP" is not KEY=VALUE', ("args=IP",)),
    Row("enable", "label dockercni.enable=yes: must be true or false", ("enable=yes",)),
    Row("far", "10.9.0.9", ("ip=10.9.0.9",)),
    Row("no-family", "fd00::9", ("ip=fd00::9",)),
    Row("gateway", "10.1.0.1", ("ip=10.1.0.1",)),
    Row("line-break", r"label dockercni.ip=10.1.0.9\nADD fake: ", ("ip=10.1.0.9\nADD fake",)),
    Row("escape", r"label dockercni.ip=\x1b[31m: ", ("ip=\x1b[31m",)),
]


def test_every_bad_label(host: Host, cli: Cli) -> None:
    """Each is told in one line with label and reason, exit code 4; none of the containers got anything."""
    host.write(f"{NET}/10-lan.conflist", LAN)
    host.write(f"{NET}/20-wan.conflist", network("wan", "10.2.0.0/24"))
    for row in ROWS:
        run(host, row.name, *(f"--label=dockercni.{label}" for label in row.labels), *row.flags)
    done = cli("sync")
    assert done.returncode == 4
    lines = said(done).splitlines()
    for row in ROWS:
        of_it = [line for line in lines if f" {row.name} " in line or line.startswith(f"NOTE {row.name} ")]
        assert len(of_it) == 1, (row.name, of_it)
        assert row.words in of_it[0], (row.name, of_it)
        assert "failed: " in of_it[0]
    assert lines[-1].startswith(f"not converged: 0 containers, 0 attachments, {len(ROWS)} with problems")
    assert len(lines) == len(ROWS) + 1
    unharmed(host, *(row.name for row in ROWS))


def test_an_address_that_is_taken(host: Host, cli: Cli) -> None:
    """The second one that asks for an address gets none, by name; the first one keeps it."""
    host.write(f"{NET}/10-lan.conflist", LAN)
    run(host, "first", "--label=dockercni.ip=10.1.0.9")
    cli("sync", check=True)
    run(host, "second", "--label=dockercni.ip=10.1.0.9")
    done = cli("sync")
    assert done.returncode == 4
    assert "ADD second lan eth0 failed: " in said(done)
    assert "address 10.1.0.9 is taken by container first" in said(done)
    leases = [line for line in leftovers(host) if line.startswith("lease ")]
    assert leases == ["lease lan/10.1.0.9"]
    assert "10.1.0.9/24" in host.container("first").run("ip", "address").stdout


def test_a_plugin_that_is_not_there(host: Host, cli: Cli) -> None:
    """The directories that were searched are named, and no other plugin of the chain has run."""
    listed = json.loads(LAN)
    listed["plugins"].append({"type": "brigde"})
    host.write(f"{NET}/10-lan.conflist", json.dumps(listed))
    run(host, "web")
    done = cli("sync")
    assert done.returncode == 4
    assert 'plugin "brigde" not found; searched /opt/cni/bin, /usr/lib/cni, /usr/libexec/cni' in said(done)
    unharmed(host, "web")
    assert not host.path("/var/lib/cni/networks/lan").exists()


SETTINGS = [
    ("worker = 8", "/etc/dockercni/dockercni.toml: unknown key 'worker'; did you mean workers?"),
    ('attach = "some"', """/etc/dockercni/dockercni.toml: attach = 'some': must be "all" or "labelled\""""),
    ("attach = all", "/etc/dockercni/dockercni.toml: not valid TOML: Invalid value (line 1, column 10)"),
    ('workers = "8"', "(a TOML integer, not a TOML string)"),
]


@pytest.mark.parametrize(("text", "words"), SETTINGS, ids=[row[0] for row in SETTINGS])
def test_bad_settings(host: Host, cli: Cli, text: str, words: str) -> None:
    """Every command ends with 2 and one line, before anything was done."""
    host.write("/etc/dockercni/dockercni.toml", text + "\n")
    run(host, "web")
    for command in (["sync"], ["daemon"], ["add", "web"]):
        done = cli(*command)
        assert (done.returncode, len(said(done).splitlines())) == (2, 1)
        assert words in done.stderr
    unharmed(host, "web")
    assert not host.path("/run/dockercni").exists()


def _serve(path: str, answer: bytes) -> socket.socket:
    server = socket.socket(socket.AF_UNIX)
    server.bind(path)
    server.listen()

    def loop() -> None:
        while True:
            try:
                client, _ = server.accept()
            except OSError:
                return
            with client:
                client.recv(4096)
                client.sendall(answer)

    threading.Thread(target=loop, daemon=True).start()
    return server


def _http(body: bytes, status: str = "200 OK") -> bytes:
    return b"HTTP/1.1 %s\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s" % (status.encode(), len(body), body)


SOCKETS = [
    ("missing", None, 75, "there is no such socket; is Docker running?"),
    ("closes", b"", 75, "it closes the connection without an answer"),
    ("other-http", _http(b"<html></html>", "404 Not Found"), 1, "is no Docker Engine: it answers 404 Not Found"),
    ("other-json", _http(b"{}"), 1, "is no Docker Engine: its answers are of another kind"),
    ("garbage", b"SSH-2.0-OpenSSH_9.2\r\n", 1, "is no Docker Engine: it does not speak HTTP"),
    (
        "rootless",
        _http(b'{"ApiVersion":"1.41","ID":"x","SecurityOptions":["name=rootless"]}'),
        1,
        "is rootless: its namespaces cannot be entered from outside",
    ),
]


@pytest.mark.parametrize(("answer", "code", "words"), [row[1:] for row in SOCKETS], ids=[row[0] for row in SOCKETS])
def test_a_socket_that_is_no_engine(host: Host, cli: Cli, answer: bytes | None, code: int, words: str) -> None:
    """One line with what is there instead, and what is attached stays so."""
    run(host, "web")
    cli("sync", check=True)
    before = leftovers(host)
    server = _serve(str(host.path("/run/other.sock")), answer) if answer is not None else None
    try:
        done = cli("sync", "--docker-host=unix:///run/other.sock")
        assert (done.returncode, len(said(done).splitlines())) == (code, 1)
        assert words in done.stderr
        assert "unix:///run/other.sock" in done.stderr
    finally:
        if server:
            server.close()
            host.path("/run/other.sock").unlink()
    assert leftovers(host) == before
    assert "10.22.0.2/16" in host.container("web").run("ip", "address").stdout


UNKNOWN = [
    (["sync", "nobody"], 'there is no container "nobody"'),
    (["sync", ""], 'there is no container ""'),
    (["inspect", "../info"], 'there is no container "../info"'),
    (["explain", "web%2f"], 'there is no container "web%2f"'),
    (["add", "nobody"], 'there is no container "nobody"; to attach a namespace, add its path'),
    (["add", "web", "--network", "nowhere"], 'there is no network "nowhere" (known: dockercni)'),
    (["add", "web", "/etc/passwd"], "/etc/passwd: not a network namespace"),
    (["add", "web", "/nowhere"], "/nowhere: no such network namespace"),
    (["del", "nobody"], 'there is no container "nobody", and nothing is recorded under that id'),
]


def test_unknown_names(host: Host, cli: Cli) -> None:
    """A container, network or namespace that does not exist is usage: exit code 2, one line, nothing done."""
    run(host, "web")
    for command, words in UNKNOWN:
        done = cli(*command)
        assert (done.returncode, said(done)) == (2, f"dockercni: {words}\n"), command
    unharmed(host, "web")
