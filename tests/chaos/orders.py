"""Plugins that do as they are told: wrappers before the real ones, and the orders that they find."""

from __future__ import annotations

from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

from tests.hosts import wait_until

if TYPE_CHECKING:
    from tests.hosts import Host

DIRECTORY = "/run/private/cni-bin"
ORDERS = "/run/private/orders"
PLUGINS = ("bridge", "host-local", "portmap", "firewall")
SEARCH = f"{DIRECTORY}:/opt/cni/bin:/usr/lib/cni:/usr/libexec/cni"  # the setting cni-bin-dir


class Orders:
    """The orders of one host. `text` of an order is PLUGIN.VERB.before|after.WHAT, see plugin.sh."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._numbers = count(1)
        for directory in (DIRECTORY, ORDERS):
            host.path(directory).mkdir(exist_ok=True)
        wrapper = Path(__file__).with_name("plugin.sh").read_bytes()
        for plugin in PLUGINS:
            path = host.path(f"{DIRECTORY}/{plugin}")
            path.write_bytes(wrapper)
            path.chmod(0o755)

    def give(self, text: str) -> Path:
        """Give an order, to be obeyed once; returns its file."""
        path = self._host.path(f"{ORDERS}/{text}.{next(self._numbers)}")
        path.touch()
        return path

    def wait_reached(self, order: Path, seconds: float = 20) -> Path:
        """Wait until a plugin stands at the order `...block`; it goes on when the file that is returned is removed."""
        reached = order.with_name(f"{order.name}.reached")
        wait_until(reached.exists, seconds, f"a plugin at {order.name}")
        return reached

    def withdraw(self) -> list[str]:
        """Take all orders back, and let go who stands at one; returns those that nobody had obeyed."""
        left = sorted(path.name for path in self._host.path(ORDERS).iterdir())
        for name in left:
            self._host.path(f"{ORDERS}/{name}").unlink(missing_ok=True)
        return left
