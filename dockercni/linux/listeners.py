"""Who listens: on a port of the network namespace that the program itself runs in, or on a Unix socket."""

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

from dockercni.linux import processes

_SCTP: Final = 132  # not in each Python's socket module
_KINDS: Final = {"tcp": (socket.SOCK_STREAM, 0), "udp": (socket.SOCK_DGRAM, 0), "sctp": (socket.SOCK_STREAM, _SCTP)}
_WAITING: Final = {"tcp": "0A", "udp": "07", "sctp": "10"}  # the states LISTEN and, of UDP, not connected
_TABLES: Final = Path("/proc/net")
_LISTENING: Final = 0x10000  # __SO_ACCEPTCON of the flags in /proc/net/unix
# errors that mean that nothing can listen: a family or protocol that the kernel lacks, an address that the host lacks
_NOBODY: Final = {errno.EAFNOSUPPORT, errno.EPROTONOSUPPORT, errno.ESOCKTNOSUPPORT, errno.EADDRNOTAVAIL}


@dataclass(frozen=True, slots=True)
class Listener:
    """A socket that waits on `address`, which may be a wildcard, and its process; pid 0 if that is not seen."""

    address: IPv4Address | IPv6Address
    port: int
    pid: int
    command: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The name of the program."""
        return os.path.basename(self.command[0]) if self.command else ""


class Listeners:
    """Who listens now, without sockets of the process `but`. The kernel's tables are read once, when needed."""

    def __init__(self, but: int | None = None) -> None:
        self._but = but
        self._tables: dict[tuple[str, int], list[tuple[IPv4Address | IPv6Address, str]]] = {}
        self._read: set[str] = set()
        self._own: frozenset[str] = frozenset()

    def find(self, protocol: str, address: str, port: int) -> Listener | None:
        """The listener that gets what is sent to `address` ("": any of this host) and `port`; None if there is none.

        Sockets of existing connections do not count: nothing new reaches them. Raises OSError where the kernel refuses
        the question.
        """
        if protocol not in _KINDS or _can_bind(protocol, address, port):
            return None
        for held, inode in self._there(protocol, address, port):
            if inode not in self._own:
                pid = _owner(inode)
                return Listener(held, port, pid, processes.command(pid) if pid else ())
        return None

    def free(self, protocol: str, address: str, port: int) -> bool:
        """Whether no socket has it, not even one of a connection. Raises OSError as `find`."""
        if protocol not in _KINDS or _can_bind(protocol, address, port):
            return True
        there = self._there(protocol, address, port)
        return bool(there) and all(inode in self._own for _, inode in there)

    def _there(self, protocol: str, address: str, port: int) -> list[tuple[IPv4Address | IPv6Address, str]]:
        """The address and inode of each socket that gets what is sent there."""
        self._read_tables(protocol)
        return [(held, inode) for held, inode in self._tables.get((protocol, port), ()) if _meet(address, held)]

    def _read_tables(self, protocol: str) -> None:
        if not self._read and self._but:
            self._own = frozenset(_sockets(self._but))
        if protocol not in self._read:
            self._read.add(protocol)
            for address, port, inode in _waiting(protocol):
                self._tables.setdefault((protocol, port), []).append((address, inode))


def pick(protocol: str, address: str) -> int:
    """A port that is free at `address`, in both families where that is "". Raises OSError."""
    with _socket(protocol, address) as probe:
        probe.bind((_bindable(probe, address), 0))
        return int(probe.getsockname()[1])


def _can_bind(protocol: str, address: str, port: int) -> bool:
    """Whether the port can be bound. A bind answers at once; the tables are read only where it fails. Raises OSError.

    "Address in use" means that a socket has it. Other errors concern this process (no CAP_NET_BIND_SERVICE, no
    descriptors) and say nothing of the port, so they are raised.
    """
    try:
        with _socket(protocol, address) as probe:
            if protocol == "tcp":  # else connections in TIME_WAIT would be in the way
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((_bindable(probe, address), port))
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            return False
        if error.errno not in _NOBODY:
            raise
    return True


def _socket(protocol: str, address: str) -> socket.socket:
    """A socket for `address`; for any address one of both families, where there are both."""
    kind = _KINDS[protocol]
    if not address:
        try:
            both = socket.socket(socket.AF_INET6, *kind)
        except OSError as error:
            if error.errno != errno.EAFNOSUPPORT:
                raise
            return socket.socket(socket.AF_INET, *kind)  # a kernel without IPv6
        both.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        return both
    if ":" not in address:
        return socket.socket(socket.AF_INET, *kind)
    six = socket.socket(socket.AF_INET6, *kind)
    six.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)  # [::] must not stand for IPv4 here
    return six


def _bindable(probe: socket.socket, address: str) -> str:
    return address or ("::" if probe.family == socket.AF_INET6 else "")


def _waiting(protocol: str) -> Iterator[tuple[IPv4Address | IPv6Address, int, str]]:
    """The address, port and inode of the waiting sockets."""
    if protocol == "sctp":
        yield from _waiting_sctp()
        return
    for name in (protocol, f"{protocol}6"):  # proc_net_tcp.txt: address, state and inode are fields 2, 4 and 10
        for fields in _lines(name):
            address, _, number = fields[1].partition(":")
            if fields[3] == _WAITING[protocol]:
                yield _address(address), int(number, 16), fields[9]


def _waiting_sctp() -> Iterator[tuple[IPv4Address | IPv6Address, int, str]]:
    """The same for SCTP: state, port and inode are fields 4, 6 and 8, then come the addresses."""
    for fields in _lines("sctp/eps"):
        if fields[3] == _WAITING["sctp"]:
            for address in fields[8:]:
                yield ip_address(address), int(fields[5]), fields[7]


def _lines(table: str) -> Iterator[list[str]]:
    try:
        lines = (_TABLES / table).read_text(encoding="ascii").splitlines()[1:]
    except OSError:
        return
    yield from map(str.split, lines)


def _address(text: str) -> IPv4Address | IPv6Address:
    """An address as the tables have it: 32-bit words in hexadecimal, each in the machine's byte order."""
    words = [int(text[start : start + 8], 16).to_bytes(4, sys.byteorder) for start in range(0, len(text), 8)]
    address = ip_address(b"".join(words))
    return (isinstance(address, IPv6Address) and address.ipv4_mapped) or address


def _meet(wanted: str, held: IPv4Address | IPv6Address) -> bool:
    """Whether a socket at `held` can keep `wanted` from being bound. One at [::] may serve IPv4 as well."""
    if not wanted:
        return True
    address = ip_address(wanted)
    if address.version == 6 and held.version == 4:
        return False
    return held.is_unspecified or address.is_unspecified or address == held


def _sockets(pid: int) -> Iterator[str]:
    """The inodes of the sockets that a process has open."""
    try:
        for fd in os.scandir(f"/proc/{pid}/fd"):
            if (target := os.readlink(fd.path)).startswith("socket:["):
                yield target[len("socket:[") : -1]
    except OSError:  # ended meanwhile
        return


def _owner(inode: str) -> int:
    """The process that has the socket; 0 if it is not visible here."""
    wanted = {f"socket:[{inode}]"}
    return next((pid for pid in processes.ids() if _has(pid, wanted)), 0)


def unix_sockets(path: str) -> frozenset[str]:
    """The inodes of the Unix sockets of this network namespace that listen at `path`."""
    try:
        lines = (_TABLES / "unix").read_bytes().split(b"\n")[1:]
    except OSError:
        return frozenset()
    wanted = os.path.realpath(path)
    found = (line.split(None, 7) for line in lines)
    return frozenset(
        fields[6].decode()
        for fields in found
        if len(fields) == 8
        and int(fields[3], 16) & _LISTENING
        and fields[7].startswith(b"/")  # not an abstract one, which begins with @
        and os.path.realpath(os.fsdecode(fields[7])) == wanted
    )


def holders(inodes: frozenset[str], name: str) -> list[int]:
    """The processes that have one of these sockets open; those whose program is called `name`, if there are any.

    With socket activation the service manager has the socket open as well.
    """
    wanted = {f"socket:[{inode}]" for inode in inodes}
    pids = list(processes.ids()) if wanted else []
    called = [pid for pid in pids if _name(pid) == name]
    return [pid for pid in called if _has(pid, wanted)] or [pid for pid in pids if _has(pid, wanted)]


def thread_namespaces(pid: int) -> Iterator[tuple[int, int]]:
    """The network namespaces that threads of a process are in: device and inode of each.

    Raises PermissionError where this process may not look.
    """
    try:
        threads = os.listdir(f"/proc/{pid}/task")
    except (FileNotFoundError, ProcessLookupError):
        return
    for thread in threads:
        try:
            found = os.stat(f"/proc/{pid}/task/{thread}/ns/net")
        except (FileNotFoundError, ProcessLookupError):  # ended meanwhile
            continue
        yield found.st_dev, found.st_ino


def _name(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_bytes().decode("utf-8", "replace").rstrip("\n")
    except OSError:
        return ""


def _has(pid: int, wanted: set[str]) -> bool:
    try:
        return any(os.readlink(fd.path) in wanted for fd in os.scandir(f"/proc/{pid}/fd"))
    except OSError:  # ended meanwhile
        return False
