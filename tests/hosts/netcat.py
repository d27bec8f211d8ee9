"""A client and a server for one line over TCP or UDP; stands alone, so that it runs in any namespace.

netcat.py serve tcp|udp PORT                        answers `peer=ADDRESS local=ADDRESS name=HOSTNAME`
netcat.py ask tcp|udp HOST PORT [--timeout S]       prints the answer; exit code 1 and the reason if there is none
netcat.py survey TCP|UDP,HOST,PORT ... [--timeout S]    asks all at once; prints a line each, empty without an answer
"""

from __future__ import annotations

import argparse
import contextlib
import socket
import sys
import threading
import time

PKTINFO = (socket.IPPROTO_IPV6, socket.IPV6_PKTINFO)


def main() -> int:
    """Serve or ask, as the command line says."""
    parser = argparse.ArgumentParser()
    verbs = parser.add_subparsers(dest="verb", required=True)
    serve = verbs.add_parser("serve")
    serve.add_argument("protocol", choices=("tcp", "udp"))
    serve.add_argument("port", type=int)
    ask = verbs.add_parser("ask")
    ask.add_argument("protocol", choices=("tcp", "udp"))
    ask.add_argument("host")
    ask.add_argument("port", type=int)
    ask.add_argument("--timeout", type=float, default=3.0)
    survey = verbs.add_parser("survey")
    survey.add_argument("target", nargs="*")
    survey.add_argument("--timeout", type=float, default=3.0)
    said = parser.parse_args()
    if said.verb == "serve":
        (serve_tcp if said.protocol == "tcp" else serve_udp)(said.port)
    if said.verb == "survey":
        ask_all(said.target, said.timeout)
        return 0
    try:
        reply = (ask_tcp if said.protocol == "tcp" else ask_udp)(said.host, said.port, said.timeout)
    except OSError as problem:
        sys.stderr.write(f"{problem}\n")
        return 1
    sys.stdout.buffer.write(reply)
    return 0


def answer(peer: str, local: str) -> bytes:
    """The one line that a server says; addresses of IPv4 without their IPv6 wrapping."""
    peer, local = (address.removeprefix("::ffff:") for address in (peer, local))
    return f"peer={peer} local={local} name={socket.gethostname()}\n".encode()


def ready() -> None:
    """Say that requests will be answered from now on."""
    sys.stdout.write("serving\n")
    sys.stdout.flush()


def serve_tcp(port: int) -> None:
    """Answer every connection as an HTTP server would, in a thread each."""
    listener = socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=128)
    ready()
    while True:
        connection = listener.accept()[0]
        threading.Thread(target=answer_tcp, args=(connection,), daemon=True).start()


def answer_tcp(connection: socket.socket) -> None:
    """Read what the client asks (closing with unread data would reset the connection), then answer."""
    with connection, contextlib.suppress(OSError):
        connection.settimeout(5)
        connection.recv(65536)
        line = answer(connection.getpeername()[0], connection.getsockname()[0])
        connection.sendall(b"HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\n" + line)


def serve_udp(port: int) -> None:
    """Answer every datagram from the address that it was sent to."""
    server = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    server.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    server.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
    server.bind(("::", port))
    ready()
    while True:
        _, control, _, peer = server.recvmsg(65536, 256)
        packet = next(bytes(data) for level, kind, data in control if (level, kind) == PKTINFO)
        line = answer(peer[0], socket.inet_ntop(socket.AF_INET6, packet[:16]))
        with contextlib.suppress(OSError):
            server.sendmsg([line], [(*PKTINFO, packet)], 0, peer)


def ask_tcp(host: str, port: int, timeout: float) -> bytes:
    """The answer to `GET /`, without its HTTP header."""
    with socket.create_connection((host, port), timeout) as client:
        client.sendall(b"GET / HTTP/1.0\r\n\r\n")
        reply = b""
        while part := client.recv(65536):
            reply += part
    if not reply:
        raise ConnectionError("closed without an answer")
    return reply.partition(b"\r\n\r\n")[2] if reply.startswith(b"HTTP/") else reply


def ask_udp(host: str, port: int, timeout: float) -> bytes:
    """The answer to a datagram, which is sent again every 0.2 s; a refusal (ICMP) is not the last word."""
    family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0]
    deadline = time.monotonic() + timeout
    problem: OSError = TimeoutError("timed out")
    with socket.socket(family, kind) as client:
        client.connect(address)
        while (left := deadline - time.monotonic()) > 0:
            client.settimeout(min(left, 0.2))
            try:
                client.send(b"hello\n")
                return client.recv(65536)
            except TimeoutError:
                continue
            except OSError as refusal:
                problem = refusal
                threading.Event().wait(min(left, 0.02))
    raise problem


def ask_all(targets: list[str], timeout: float) -> None:
    """Print the answer of each target, in the order of the targets."""
    answers = [b"\n"] * len(targets)

    def ask(index: int, protocol: str, host: str, port: str) -> None:
        with contextlib.suppress(OSError):
            answers[index] = (ask_tcp if protocol == "tcp" else ask_udp)(host, int(port), timeout)

    threads = [threading.Thread(target=ask, args=(index, *each.split(","))) for index, each in enumerate(targets)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    sys.stdout.buffer.write(b"".join(answers))


if __name__ == "__main__":
    sys.exit(main())
