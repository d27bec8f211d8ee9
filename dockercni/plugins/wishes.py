"""What the tuning plugin is asked for, from all the places where it can be asked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dockercni.cni.strict_json import Fields
    from dockercni.plugins.contract import Request

KEYS: Final = ("dataDir", "sysctl", "mac", "promisc", "mtu", "txQLen", "allmulti")


@dataclass(frozen=True, slots=True)
class Wish:
    """What is to be changed; "", 0 and None, for `promiscuous` False, mean: left as it is."""

    sysctls: Mapping[str, str]
    mac: str
    promiscuous: bool
    mtu: int
    all_multicast: bool | None
    queue: int | None


def read(request: Request) -> Wish:
    """The configuration, its MAC replaced by that of CNI_ARGS and then runtimeConfig, and all of it by args.cni.

    Raises DocumentError for wrong types, PluginFailure for bad CNI_ARGS.
    """
    fields = request.fields
    ours, args = fields, fields.object("args").object("cni")
    macs = (
        args.string("mac"),
        fields.object("runtimeConfig").string("mac"),
        request.arguments("MAC").get("MAC", ""),
        fields.string("mac"),
    )
    return Wish(
        sysctls=_strings(ours, "sysctl") | _strings(args, "sysctl"),
        mac=next(filter(None, macs), ""),
        promiscuous=bool(_boolean(args, "promisc", _boolean(ours, "promisc"))),
        mtu=_integer(args, "mtu", ours.integer("mtu")) or 0,
        all_multicast=_boolean(args, "allmulti", _boolean(ours, "allmulti")),
        queue=_integer(args, "txQLen", ours.integer("txQLen")),
    )


def _strings(fields: Fields, key: str) -> dict[str, str]:
    found = fields.object(key)
    # the names of sysctls are keys of the user's, which count as they are written
    return {name: found.string(name) for name in found.values}


def _boolean(fields: Fields, key: str, otherwise: bool | None = None) -> bool | None:
    return otherwise if fields.get(key) is None else fields.boolean(key)


def _integer(fields: Fields, key: str, otherwise: int | None) -> int | None:
    found = fields.integer(key)
    return otherwise if found is None else found
