"""The redirect of 127.0.0.11:53 in a container's namespace."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from dockercni.linux import dns_redirect
from dockercni.linux.netns import Namespace
from dockercni.resolver.client import _bound
from tests.hosts import wait_until

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from tests.hosts import Host


def asked(host: Host, sockets: tuple[socket.socket, socket.socket], *, tcp: bool) -> None:
    """Ask in the namespace: the question reaches the resolver's socket, and its answer the asker."""
    udp, listening = sockets
    words = ["+tcp"] if tcp else []
    dig = host.popen("ip", "netns", "exec", "c1", "dig", *words, "+tries=1", "+timeout=5", "@127.0.0.11", "db")
    if tcp:
        listening.settimeout(5)
        link, _ = listening.accept()
        with link:
            message = link.recv(512)
            link.send(message[:4] + b"\x81\x85" + message[6:])
    else:
        udp.settimeout(5)
        message, asker = udp.recvfrom(512)
        udp.sendto(message[:2] + b"\x81\x85" + message[4:], asker)
    assert dig.process.wait(10) == 0
    assert "REFUSED" in dig.text()


@pytest.mark.parametrize("own_server", [False, True])
def test_redirect(host: Host, netns: Callable[[str], str], own_server: bool) -> None:
    """Questions to port 53 arrive at the resolver's ports, also beside another server there, and after a change."""
    path = netns("c1")
    host.run("ip", "-netns", "c1", "link", "set", "lo", "up")
    if own_server:
        words = ("--keep-in-foreground", "--conf-file=/dev/null", "--log-facility=-", "--user=root", "--pid-file=")
        server = host.popen("ip", "netns", "exec", "c1", "dnsmasq", *words)
        wait_until(lambda: "started" in server.text(), 10, "dnsmasq", server.text)
    with Namespace.open(host.path(path)) as namespace:
        for _ in range(2):
            sockets = namespace.run(_bound)
            dns_redirect.apply(namespace, sockets[0].getsockname()[1], sockets[1].getsockname()[1])
            for tcp in (False, True):
                asked(host, sockets, tcp=tcp)
            for each in sockets:
                each.close()
    if own_server:
        server.kill()


def test_as_nft_shows_it(host: Host, netns: Callable[[str], str]) -> None:
    """The table is what nft(8) would make of these rules."""
    with Namespace.open(host.path(netns("c1"))) as namespace:
        dns_redirect.apply(namespace, 1053, 2053)
    shown = host.run("ip", "netns", "exec", "c1", "nft", "list", "ruleset").stdout
    assert "type nat hook output priority -100; policy accept;" in shown
    assert "ip daddr 127.0.0.11 udp dport 53 dnat to 127.0.0.11:1053" in shown
    assert "ip daddr 127.0.0.11 tcp dport 53 dnat to 127.0.0.11:2053" in shown
