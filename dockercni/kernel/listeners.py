"""Who listens on a port of the network namespace that the program itself runs in."""

from __future__ import annotations

import errno
import os
import socket
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from typing import Final

_KINDS: Final = {"tcp": socket.SOCK_STREAM, "udp": socket.SOCK_DGRAM}
_WAITING: Final = {"tcp": "0A", "udp": "07"}  # the states LISTEN and, of UDP, not connected
_TABLES: Final = Path("/proc/net")


@dataclass(frozen=True, slots=True)
class Listener:
    """A socket that waits on `address` (its wildcard included), and the process that has it; 0 if that is not seen."""

    address: IPv4Address | IPv6Address
    port: int
    pid: int
    command: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The name of the program."""
        return os.path.basename(self.command[0]) if self.command else ""


def find(protocol: str, address: str, port: int) -> Listener | None:
    """Who gets what is sent to `address` ("": any of this host) and `port`; None if nobody, or if it is not TCP or UDP.

    Sockets of connections that exist do not count: nothing new comes to them.
    """
    if protocol not in _KINDS or _can_bind(protocol, address, port):
        return None
    for listener, inode in _waiting(protocol, port):
        if _meet(address, listener.address):
            pid = _owner(inode)
            return Listener(listener.address, port, pid, _command(pid) if pid else ())
    return None


def _can_bind(protocol: str, address: str, port: int) -> bool:
    """Ask the kernel, which knows at once; only a refusal is worth reading its tables."""
    try:
        with _socket(protocol, address) as probe:
            if protocol == "tcp":  # else connections that have just ended would be in the way
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((address or ("::" if probe.family == socket.AF_INET6 else ""), port))
    except OSError as error:
        return error.errno != errno.EADDRINUSE
    return True


def _socket(protocol: str, address: str) -> socket.socket:
    """A socket for `address`; for any address one of both families, where there are both."""
    if not address:
        try:
            both = socket.socket(socket.AF_INET6, _KINDS[protocol])
        except OSError:  # a kernel without IPv6
            return socket.socket(socket.AF_INET, _KINDS[protocol])
        both.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        return both
    return socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, _KINDS[protocol])


def _waiting(protocol: str, port: int) -> Iterator[tuple[Listener, str]]:
    """The sockets that wait on `port` (proc_net_tcp.txt: local address, state and inode are fields 2, 4 and 10)."""
    for name in (protocol, f"{protocol}6"):
        try:
            lines = (_TABLES / name).read_text(encoding="ascii").splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            fields = line.split()
            address, _, number = fields[1].partition(":")
            if fields[3] == _WAITING[protocol] and int(number, 16) == port:
                yield Listener(_address(address), port, 0), fields[9]


def _address(text: str) -> IPv4Address | IPv6Address:
    """An address as the tables have it: 32-bit words in hexadecimal, each in the machine's byte order."""
    words = [int(text[start : start + 8], 16).to_bytes(4, sys.byteorder) for start in range(0, len(text), 8)]
    address = ip_address(b"".join(words))
    return (isinstance(address, IPv6Address) and address.ipv4_mapped) or address


def _meet(wanted: str, held: IPv4Address | IPv6Address) -> bool:
    if not wanted or held.is_unspecified:
        return True
    try:
        address = ip_address(wanted)
    except ValueError:
        return False
    return address.is_unspecified or address == held


def _owner(inode: str) -> int:
    """The process that has the socket; 0 if it lives where we do not see it."""
    wanted = f"socket:[{inode}]"
    for entry in os.scandir("/proc"):
        if not entry.name.isdecimal():
            continue
        try:
            if any(os.readlink(fd.path) == wanted for fd in os.scandir(f"/proc/{entry.name}/fd")):
                return int(entry.name)
        except OSError:  # ended meanwhile
            continue
    return 0


def _command(pid: int) -> tuple[str, ...]:
    try:
        text = Path(f"/proc/{pid}/cmdline").read_bytes().decode("utf-8", "replace")
    except OSError:
        return ()
    return tuple(text.rstrip("\0").split("\0")) if text else ()
