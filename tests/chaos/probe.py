"""Asks from many network namespaces at once; run in the host, alone: `probe.py < JSON > JSON`.

Input: {"outside": PID, "echo": PORT, "questions": [[PID of the asking namespace or 0, HOST, PORT], ...]}.
In the host's and the outside's namespace a server answers on the port `echo`. Output: an answer, or a text that begins
with "!", for each question.
"""

from __future__ import annotations

import ctypes
import json
import sys
import threading
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "hosts"))
import netcat

SECONDS = 2.0
CLONE_NEWNET = 0x40000000


def enter(pid: int) -> None:
    """Move this thread, which never comes back, into a process's network namespace."""
    if pid:
        with open(f"/proc/{pid}/ns/net", "rb") as namespace:
            if ctypes.CDLL(None, use_errno=True).setns(namespace.fileno(), CLONE_NEWNET):
                raise OSError(ctypes.get_errno(), "setns")


def in_thread(work: object, *arguments: object) -> threading.Thread:
    """Start it in a thread of its own."""
    thread = threading.Thread(target=work, args=arguments, daemon=True)
    thread.start()
    return thread


def main() -> None:
    """Serve, ask, print."""
    said = json.load(sys.stdin)
    answers = ["! no answer"] * len(said["questions"])
    listening = threading.Barrier(3)
    netcat.ready = listening.wait

    def serve(pid: int) -> None:
        enter(pid)
        netcat.serve_tcp(said["echo"])

    def ask(position: int, pid: int, host: str, port: int) -> None:
        try:
            enter(pid)
            answers[position] = netcat.ask_tcp(host, port, SECONDS).decode(errors="replace").strip()
        except OSError as problem:
            answers[position] = f"! {problem}"

    for pid in (0, said["outside"]):
        in_thread(serve, pid)
    listening.wait(10)
    asking = [in_thread(ask, position, *question) for position, question in enumerate(said["questions"])]
    for thread in asking:
        thread.join(2 * SECONDS)
    print(json.dumps(answers))  # noqa: T201


main()
