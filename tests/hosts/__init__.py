"""Private hosts: a network and mount namespace with an engine of its own, and an outside world beside it."""

from tests.hosts.commands import CommandError
from tests.hosts.host import Host
from tests.hosts.image import IMAGE, PYTHON_FLAGS, import_image, serve_tcp, serve_udp, write_archive
from tests.hosts.leftovers import leftovers, wipe
from tests.hosts.outside import Outside
from tests.hosts.place import NoAnswer, Place, peer_of
from tests.hosts.registry import sweep
from tests.hosts.tree import TREE, copy_tree
from tests.hosts.waiting import wait_until

__all__ = [
    "IMAGE",
    "PYTHON_FLAGS",
    "TREE",
    "CommandError",
    "Host",
    "NoAnswer",
    "Outside",
    "Place",
    "copy_tree",
    "import_image",
    "leftovers",
    "peer_of",
    "serve_tcp",
    "serve_udp",
    "sweep",
    "wait_until",
    "wipe",
    "write_archive",
]
