"""reconcile.ports and locks: whose a port of the host is, decided without an engine."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from dockercni.cni import Cache, CacheEntry, RuntimeConf
from dockercni.errors import LockHeld
from dockercni.linux import listeners
from dockercni.model import NetworkRequest, PublishedPort
from dockercni.reconcile.attach import Attacher, Target
from dockercni.reconcile.dhcp_leases import DHCPLeases
from dockercni.reconcile.locks import Locks
from dockercni.reconcile.ports import PortTaken, PortUnclear, Publisher, mappings, refuse_taken


def port(number: int, host_ip: str = "", protocol: str = "tcp") -> PublishedPort:
    return PublishedPort(80, protocol, host_ip, range(number, number + 1))


def publisher(number: int, host_ip: str = "", *, lives: bool = True) -> Publisher:
    mapping: dict[str, object] = {"hostPort": number, "containerPort": 80, "protocol": "tcp"}
    if host_ip:
        mapping["hostIP"] = host_ip
    return Publisher("other", {"portMappings": [mapping]}, lambda: lives)


@contextmanager
def listening(address: str, kind: socket.SocketKind = socket.SOCK_STREAM, *, dual: bool = False) -> Iterator[int]:
    """A socket of this test that waits; yields its port."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, kind) as server:
        if family == socket.AF_INET6:
            server.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, not dual)
        server.bind((address, 0))
        if kind == socket.SOCK_STREAM:
            server.listen()
        yield server.getsockname()[1]


@pytest.fixture
def free() -> int:
    """A port that nobody has."""
    with listening("127.0.0.1") as number:
        return number


MEETINGS = [
    ("", "", True),
    ("", "127.0.0.1", True),
    ("127.0.0.1", "", True),
    ("0.0.0.0", "192.0.2.1", True),
    ("127.0.0.1", "127.0.0.1", True),
    ("127.0.0.1", "127.0.0.2", False),
    ("0.0.0.0", "::", False),
    ("::", "0.0.0.0", False),
    ("", "::", True),
    ("::1", "", True),
    ("::1", "::", True),
    ("::1", "0:0::1", True),
    ("::1", "127.0.0.1", False),
    ("fd00::1", "0.0.0.0", False),
]


@pytest.mark.parametrize(("wanted", "held", "meet"), MEETINGS)
def test_other_containers_are_in_the_way_on_the_same_address(free: int, wanted: str, held: str, meet: bool) -> None:
    """Two containers may have one port on different addresses, and not on the same or on all."""
    if meet:
        with pytest.raises(PortTaken, match=f"port {free}/tcp of the host is published by container other"):
            refuse_taken([port(free, wanted)], [publisher(free, held)], None)
    else:
        refuse_taken([port(free, wanted)], [publisher(free, held)], None)


def test_the_families_of_one_container_are_apart(free: int) -> None:
    """One container may publish 0.0.0.0 and [::], and not any address and [::]."""
    refuse_taken([port(free, "0.0.0.0"), port(free, "::")], [], None)
    with pytest.raises(PortTaken, match="asked for twice"):
        refuse_taken([port(free), port(free, "::")], [], None)


def test_a_container_is_in_the_way_where_it_can_be_reached(free: int) -> None:
    """What a container publishes on any address, it has in the families of its own addresses."""
    other = replace(publisher(free), versions=frozenset({4}))
    refuse_taken([port(free, "::")], [other], None)
    with pytest.raises(PortTaken):
        refuse_taken([port(free, "0.0.0.0")], [other], None)


@pytest.mark.parametrize("number", [errno.EACCES, errno.EMFILE, errno.EPERM])
def test_an_error_of_ours_is_no_free_port(monkeypatch: pytest.MonkeyPatch, free: int, number: int) -> None:
    """A bind that fails for want of a right or of descriptors does not tell whose a port is: nothing is published."""

    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(socket.socket, "bind", refuse)
    with pytest.raises(PortUnclear, match=f"not clear whether port {free}/tcp of the host is free: ") as refused:
        refuse_taken([port(free)], [], None)
    assert ("CAP_NET_BIND_SERVICE" in str(refused.value)) == (number == errno.EACCES)
    for choice in (PublishedPort(80), PublishedPort(80, host_ports=range(free, free + 2))):
        with pytest.raises(PortUnclear):
            mappings([choice], [])


def test_an_address_that_the_host_does_not_have_has_no_listener(free: int) -> None:
    """A port of an address that may come later can be published, and so can one of a protocol without sockets here."""
    refuse_taken([port(free, "192.0.2.77"), port(free, "2001:db8::77"), port(free, "", "sctp")], [], None)


def test_many_ports_are_looked_at_in_one_go(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel's tables are read once, however many ports are wanted and held by the daemon."""
    reads: list[str] = []
    original = listeners._waiting
    monkeypatch.setattr(listeners, "_waiting", lambda protocol: reads.append(protocol) or original(protocol))
    with contextlib.ExitStack() as held:
        wanted = [port(held.enter_context(listening("0.0.0.0"))) for _ in range(50)]
        refuse_taken(wanted, [publisher(number, lives=False) for number in range(1024, 1500)], os.getpid())
    assert reads == ["tcp"]


def test_a_dead_container_is_not_in_the_way(free: int) -> None:
    """One whose processes have ended is about to be taken back: its successor need not wait for that."""
    refuse_taken([port(free)], [publisher(free, lives=False)], None)


def test_another_protocol_or_number_is_another_port(free: int) -> None:
    """TCP and UDP have ports of their own."""
    refuse_taken([port(free, protocol="udp"), port(free + 1 if free < 65535 else 1024)], [publisher(free)], None)


def test_a_port_of_choice_is_never_refused(free: int) -> None:
    """Where a range or no port was asked for, another one is chosen instead."""
    refuse_taken([PublishedPort(80), PublishedPort(80, host_ports=range(free, free + 2))], [publisher(free)], None)


LISTENERS = [
    ("127.0.0.1", socket.SOCK_STREAM, False, ["", "0.0.0.0", "127.0.0.1"], ["127.0.0.2"]),
    ("0.0.0.0", socket.SOCK_STREAM, False, ["", "0.0.0.0", "127.0.0.1"], []),
    ("::", socket.SOCK_STREAM, True, ["", "0.0.0.0", "127.0.0.1", "::1"], []),
    ("::1", socket.SOCK_STREAM, False, ["", "::1", "::"], ["127.0.0.1", "0.0.0.0"]),
    ("::", socket.SOCK_STREAM, False, ["", "::", "::1"], ["0.0.0.0", "127.0.0.1"]),
    ("0.0.0.0", socket.SOCK_DGRAM, False, ["", "0.0.0.0"], ["::", "::1"]),
    ("127.0.0.1", socket.SOCK_DGRAM, False, ["", "127.0.0.1"], ["127.0.0.2"]),
]


@pytest.mark.parametrize(("address", "kind", "dual", "taken", "free_at"), LISTENERS)
def test_a_listener_is_found_with_its_process(
    address: str, kind: socket.SocketKind, dual: bool, taken: list[str], free_at: list[str]
) -> None:
    """The socket in the way is named with its address, and with the program and process that have it."""
    protocol = "tcp" if kind == socket.SOCK_STREAM else "udp"
    with listening(address, kind, dual=dual) as number:
        for wanted in taken:
            with pytest.raises(PortTaken, match=rf"taken: \S+ \(process \d+\) listens on .*{number}$"):
                refuse_taken([port(number, wanted, protocol)], [], None)
        for wanted in free_at:
            refuse_taken([port(number, wanted, protocol)], [], None)


def test_what_is_bound_but_does_not_listen_is_not_in_the_way() -> None:
    """A client's own port takes nothing that DNAT would bring."""
    with socket.socket() as client:
        client.bind(("127.0.0.1", 0))
        assert listeners.Listeners().find("tcp", "", client.getsockname()[1]) is None


def test_dockers_proxy_is_told_with_its_target(monkeypatch: pytest.MonkeyPatch, free: int) -> None:
    """Behind the engine's proxy stands a container, which its command line tells."""
    command = ("/usr/bin/docker-proxy", "-proto", "tcp", "-container-ip", "172.17.0.2", "-container-port", "80")
    found = listeners.Listener(listeners.ip_address("0.0.0.0"), free, 7, command)
    monkeypatch.setattr(listeners.Listeners, "find", lambda *_: found)
    with pytest.raises(
        PortTaken, match=r"docker-proxy \(process 7\) publishes it for 172\.17\.0\.2:80 on one of Docker"
    ):
        refuse_taken([port(free)], [], None)


def test_a_listener_of_a_hidden_process(monkeypatch: pytest.MonkeyPatch, free: int) -> None:
    """A process of another container, say, is not seen, but its socket is."""
    found = listeners.Listener(listeners.ip_address("::"), free, 0)
    monkeypatch.setattr(listeners.Listeners, "find", lambda *_: found)
    with pytest.raises(PortTaken, match=rf"a process that is not visible from here listens on \[::\]:{free}"):
        refuse_taken([port(free)], [], None)


def test_a_port_has_one_lock(tmp_path: Path) -> None:
    """While one holds the lock of a port, another waits for it in vain; the lock of another port is free."""
    first, second = Locks(tmp_path, 0.0), Locks(tmp_path, -4.9)  # the second waits for a tenth of a second in all
    with first.ports([("tcp", 80), ("udp", 53)]):
        with pytest.raises(LockHeld, match="port 80/tcp of the host is held by"), second.ports([("tcp", 80)]):
            pass
        with second.ports([("udp", 80)]):
            pass
    with second.ports([("tcp", 80)]):
        pass


class SlowRuntime:
    """A runtime that takes its time before it records anything."""

    def __init__(self, cache: Cache, barrier: threading.Event) -> None:
        self.cache = cache
        self.barrier = barrier
        self.entered = threading.Semaphore(0)

    def add(self, network: Any, conf: RuntimeConf) -> CacheEntry:
        self.entered.release()
        assert self.barrier.wait(10)
        given = conf.capability_args
        entry = CacheEntry(
            network.name, conf.container_id, conf.ifname, conf.netns, b"{}", capability_args=given, owner={"by": "path"}
        )
        self.cache.write(entry)
        return entry


def test_two_attachments_at_once_do_not_get_the_same_port(tmp_path: Path, free: int) -> None:
    """From the look whether a port is free to the record that it is taken, nobody else comes in between."""
    cache = Cache(tmp_path / "cache")
    go = threading.Event()
    runtime = SlowRuntime(cache, go)
    network = SimpleNamespace(name="lan", capabilities=frozenset({"portMappings"}), plugins=())
    networks = SimpleNamespace(catalogue=lambda: SimpleNamespace(get=lambda _: network))
    attacher = Attacher(
        cast(Any, runtime),
        cache,
        cast(Any, networks),
        Locks(tmp_path / "run", 10.0),
        cast(Any, SimpleNamespace(during_add=lambda _: contextlib.nullcontext(), open=lambda _: None)),
        *[cast(Any, None)] * 2,
        DHCPLeases(cast(Any, runtime)),
        cast(Any, None),
    )
    wanted = NetworkRequest("lan", "eth0", ports=(port(free, "127.0.0.1"),))
    steps: list[str] = []

    def attach(name: str) -> None:
        try:
            attacher.attach(Target(name, "/proc/self/ns/net", {}, 0), wanted)
            steps.append("attached")
        except PortTaken:
            steps.append("taken")

    threads = [threading.Thread(target=attach, args=(name,)) for name in ("one", "two")]
    for thread in threads:
        thread.start()
    assert runtime.entered.acquire(timeout=10)
    together = runtime.entered.acquire(timeout=0.2)
    go.set()
    for thread in threads:
        thread.join(10)
    assert not together
    assert sorted(steps) == ["attached", "taken"]
