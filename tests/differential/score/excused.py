"""The one table of keys that no comparison with the installed executables can exercise, and why.

Cases that compare nothing have to notice when one of them is broken: those of tests/unit/plugins and
tests/netns/native.
"""

from __future__ import annotations

from typing import Final

from tests.differential.score.breakage import Breakage
from tests.differential.score.paths import shown

_NEWER: Final = "the installed 1.1.1 does not know it"
_VLANS: Final = "bridges know VLANs in few kernels only"
_GC: Final = "the installed 1.1.1 has no GC"
_HANDED_OVER: Final = "a configuration that has it is left to the executable"

EXCUSED: Final[dict[str, str]] = {
    "bridge: vlan": _VLANS,
    "bridge: vlanTrunk": _VLANS,
    "bridge: vlanTrunk[].id": _VLANS,
    "bridge: vlanTrunk[].minID": _VLANS,
    "bridge: vlanTrunk[].maxID": _VLANS,
    "bridge: preserveDefaultVlan": _VLANS,
    "bridge: portIsolation": _NEWER,
    "bridge: disableContainerInterface": _NEWER,
    "bridge: cni.dev/valid-attachments": _GC,
    "bridge: cni.dev/valid-attachments[].containerID": _GC,
    "bridge: cni.dev/valid-attachments[].ifname": _GC,
    "host-local: cni.dev/valid-attachments": _GC,
    "host-local: cni.dev/attachments": _GC,
    "host-local: cni.dev/valid-attachments[].containerID": _GC,
    "host-local: cni.dev/valid-attachments[].ifname": _GC,
    "host-local: cni.dev/attachments[].containerID": _GC,
    "host-local: cni.dev/attachments[].ifname": _GC,
    **{
        f"{plugin}: ipam.routes[].{key}": _NEWER
        for plugin in ("host-local", "static")
        for key in ("mtu", "advmss", "priority", "table", "scope")
    },
    'portmap: runtimeConfig.portMappings[].protocol = "sctp"': "kernels of test machines have no SCTP",
    "portmap: cni.dev/valid-attachments": _GC,
    "portmap: cni.dev/valid-attachments[].containerID": _GC,
    "portmap: cni.dev/valid-attachments[].ifname": _GC,
    "portmap: backend": _HANDED_OVER,
    "portmap: markMasqBit": _HANDED_OVER,
    "portmap: externalSetMarkChain": _HANDED_OVER,
    "portmap: conditionsV4": _HANDED_OVER,
    "portmap: conditionsV6": _HANDED_OVER,
    "portmap: masqAll": _HANDED_OVER,
    'firewall: ingressPolicy = "isolated"': _NEWER,
    "firewall: backend": _HANDED_OVER,
    "firewall: iptablesAdminChainName": _HANDED_OVER,
    "firewall: firewalldZone": "nobody reads it where firewalld does not run, as on the hosts of the tests",
    "tuning: txQLen": _NEWER,
    "tuning: args.cni.txQLen": _NEWER,
}

ELSEWHERE: Final = ("tests/unit/plugins/", "tests/netns/native/")


def reason(broken: Breakage) -> str:
    """Why a comparison cannot exercise this key, or this value of it; "" if one has to."""
    return EXCUSED.get(str(broken)) or EXCUSED.get(f"{broken.plugin}: {shown(broken.path)}", "")
