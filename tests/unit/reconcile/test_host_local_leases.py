"""host-local's stores."""

from __future__ import annotations

import json
from typing import Any

import pytest

from dockercni.cni import parse_list
from dockercni.reconcile.host_local_leases import directories

DEFAULT = "/var/lib/cni/networks/lan"


@pytest.mark.parametrize(
    ("ipam", "own", "any_ipam"),
    [
        ({"type": "host-local"}, [DEFAULT], [DEFAULT]),
        ({"type": "host-local", "dataDir": "/leases"}, ["/leases/lan"], ["/leases/lan"]),
        ({"Type": "host-local", "datadir": "/leases"}, ["/leases/lan"], ["/leases/lan"]),
        ({"type": "host-local", "dataDir": 5}, [], []),
        ({"type": "whereabouts", "dataDir": "/leases"}, [], ["/leases/lan"]),
        ({}, [], []),
    ],
)
def test_directories(ipam: dict[str, Any], own: list[str], any_ipam: list[str]) -> None:
    """The keys count in any case, as they do for the plugin; a store of another plugin only where that is asked for."""
    conf = {"cniVersion": "1.0.0", "name": "lan", "plugins": [{"type": "bridge", "ipam": ipam}]}
    network = parse_list(json.dumps(conf).encode())
    assert list(directories(network)) == own
    assert list(directories(network, of_any_ipam=True)) == any_ipam
