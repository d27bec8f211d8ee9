"""A whole host to try things on: `python -m tests.machines RELEASE [COMMAND...]`.

It boots one with a copy of this tree and a virtual environment in /root/dockercni, runs the command there as a
service of its systemd, and ends with the command's exit code. Without a command it says how to enter, and waits.
"""

from __future__ import annotations

import argparse
import shlex
import subprocess
import sys
from pathlib import Path

from tests.hosts import TREE, Host, import_image
from tests.hosts.engine import OVERLAY
from tests.machines import RELEASES, Machine, release


def main() -> int:
    """Boot, run, end."""
    parser = argparse.ArgumentParser(prog="python -m tests.machines", description=__doc__)
    parser.add_argument("--tree", type=Path, default=TREE, help="another tree than this one")
    parser.add_argument("release", choices=[one.name for one in RELEASES])
    parser.add_argument("command", nargs=argparse.REMAINDER)
    said = parser.parse_args()
    with Host() as host:
        host.start_engine(OVERLAY)
        import_image(host)
        machine = Machine(host, "machine", release(said.release))
        import_image(machine)
        machine.put_tree(said.tree)
        if said.command:
            return subprocess.run([*host.entry, *machine.service(*said.command)], check=False, env=host.env).returncode
        enter = shlex.join([*host.entry, "docker", "exec", "-it", machine.name, "bash"])
        print(f"Enter it by: {enter}\nIt ends with the end of this program's input.", flush=True)  # noqa: T201
        sys.stdin.read()
    return 0


if __name__ == "__main__":
    sys.exit(main())
