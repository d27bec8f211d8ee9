"""What stays when the last attachment has gone, so that the next one finds it: taken away with the program itself."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from dockercni.cni import NetworkList
from dockercni.kernel import links, namespaces, nftables
from dockercni.plugins import mending
from dockercni.plugins.layout import NAME
from dockercni.reconcile import strays
from dockercni.reconcile.networks import BUILT_IN_BRIDGE

_KEEPING: Final = re.compile(r"lock|last_reserved_ip\..*")


def remove(networks: Iterable[NetworkList], cache: Path, netns: Path) -> Iterator[str]:
    """Remove it, and say what; nothing that anybody uses. No ADD may be under way. Raises NftablesError, OSError."""
    if mending.exists():
        nftables.apply(f"delete table inet {NAME}")
        yield f"table inet {NAME} of nftables"
    if links.remove_bridge(BUILT_IN_BRIDGE):
        yield f"bridge {BUILT_IN_BRIDGE}"
    for network, store in strays.stores(networks):
        files = list(store.glob("*"))
        if files and all(_KEEPING.fullmatch(file.name) for file in files):
            for file in files:
                file.unlink()
            store.rmdir()
            yield f"{store}, the lease store of network {network.name}"
    for directory in (cache / "networks", cache / "results", cache):
        with contextlib.suppress(OSError):  # others use them, too
            directory.rmdir()
    namespaces.remove_directory(netns)
