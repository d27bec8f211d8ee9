"""From `docker run -d` to the first answered request, and `docker rm -f`: against Docker's own bridge."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

from tests.bench.samples import Report
from tests.engine.daemons import start_daemon
from tests.hosts import IMAGE, Host, import_image, serve_tcp

ROOT = Path(__file__).parents[2]
SUBNET = {"dockercni": "10.9.0.0/16", "docker": "10.8.0.0/16"}
ADDRESS = {"dockercni": "10.9.77.7", "docker": "10.8.77.7"}
FLAGS = {
    "dockercni": ("--network=none", f"--label=dockercni.ip={ADDRESS['dockercni']}"),
    "docker": ("--network=own", f"--ip={ADDRESS['docker']}"),
}
PORT = {"dockercni": 8080, "docker": 8081}  # ours is free again a moment after `docker rm` has returned
PATIENCE = 20  # seconds


def against_docker(report: Report, runs: int) -> None:
    """The same container by turns on a CNI network and on a bridge network of Docker's, by address and by port."""
    with Host() as host:
        host.start_engine()
        import_image(host)
        host.docker("network", "create", f"--subnet={SUBNET['docker']}", "own")
        plugins = [
            {
                "type": "bridge",
                "bridge": "cni0",
                "isGateway": True,
                "ipMasq": True,
                "ipam": {"type": "host-local", "ranges": [[{"subnet": SUBNET["dockercni"]}]]},
            },
            {"type": "portmap", "capabilities": {"portMappings": True}},
        ]
        conf = {"cniVersion": "1.0.0", "name": "net", "plugins": plugins}
        host.write("/etc/cni/net.d/10-net.conflist", json.dumps(conf))
        start_daemon(host).wait_event("ready")
        done = subprocess.run(
            [*host.entry, sys.executable, "-m", "tests.bench.serving", str(runs)],
            stdout=subprocess.PIPE,
            env={**host.env, "PYTHONPATH": str(ROOT)},
            check=True,
        )
    for what, who, milliseconds in json.loads(done.stdout):
        report.add(what, who, milliseconds)
    for published in ("", ", -p"):
        report.compare(f"run to answer{published}", "dockercni", "docker", 1.0, most=True)
        report.compare(f"rm -f{published}", "dockercni", "docker", 0.7, most=True)


def _inside(runs: int) -> list[tuple[str, str, float]]:
    samples: list[tuple[str, str, float]] = []
    for turn in range(runs + 1):
        for published in ("", ", -p"):
            for who, flags in FLAGS.items():
                port = (f"--publish={PORT[who]}:80",) if published else ()
                target = ("127.0.0.1", PORT[who]) if published else (ADDRESS[who], 80)
                began = time.perf_counter()
                _docker("run", "--detach", "--name=one", *flags, *port, IMAGE, *serve_tcp(80))
                _answered(target)
                ran = time.perf_counter()
                _docker("rm", "--force", "one")
                gone = time.perf_counter()
                if turn:  # the first one makes bridges and tables
                    samples.append((f"run to answer{published}", who, (ran - began) * 1e3))
                    samples.append((f"rm -f{published}", who, (gone - ran) * 1e3))
    return samples


def _docker(*argv: str) -> None:
    subprocess.run(["docker", *argv], check=True, stdout=subprocess.DEVNULL, env=dict(os.environ))


def _answered(target: tuple[str, int]) -> None:
    """Wait until a request is answered."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            with socket.create_connection(target, 1) as client:
                client.sendall(b"GET / HTTP/1.0\r\n\r\n")
                if client.recv(16).startswith(b"HTTP"):
                    return
        except OSError:
            pass
        if time.monotonic() > deadline:
            raise TimeoutError(f"{target} does not answer")
        threading.Event().wait(0.001)


if __name__ == "__main__":
    json.dump(_inside(int(sys.argv[1])), sys.stdout)
