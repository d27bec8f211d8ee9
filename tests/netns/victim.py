"""Stands for a runtime's init: makes a network namespace, changes its root, and executes a program when it is told to.

victim.py ROOT leader|thread|twice|busy: who executes; "twice" executes itself first, as runtimes do; "busy"
makes threads that end at once all the time.
"""

import ctypes
import os
import sys
import threading

root, who = sys.argv[1:]
libc = ctypes.CDLL(None, use_errno=True)
if who != "again":
    assert libc.unshare(0x40000000) == 0  # CLONE_NEWNET
    threads = [threading.Thread(target=threading.Event().wait, daemon=True) for _ in range(3)]
    for thread in threads:
        thread.start()
if who == "busy":

    def make_threads() -> None:
        """Never fewer than one that is about to begin or to end."""
        while True:
            threading.Thread(target=int).start()

    threading.Thread(target=make_threads, daemon=True).start()
sys.stdout.write("ready\n")
sys.stdout.flush()
sys.stdin.readline()
if who == "twice":
    os.execv(sys.executable, [sys.executable, "-I", "-S", __file__, root, "again"])
later = threading.Thread(target=threading.Event().wait, daemon=True)
later.start()
os.chroot(root)
os.chdir("/")


def execute() -> None:
    """What the container's program would be."""
    os.execv("/busybox", ["busybox", "sh", "-c", "echo executed; exec /busybox sleep 60"])


if who == "thread":
    threading.Thread(target=execute).start()
    threading.Event().wait()
execute()
