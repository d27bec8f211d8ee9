"""What the tuning plugin is asked for, from all places where it can be asked, and as messages to the kernel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from dockercni.linux import links
from dockercni.plugins.contract import PluginFailure

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dockercni.cni.strict_json import Fields
    from dockercni.linux.links import Link
    from dockercni.linux.netlink import Message
    from dockercni.plugins.contract import Request

KEYS: Final = ("dataDir", "sysctl", "mac", "promisc", "mtu", "txQLen", "allmulti")


@dataclass(frozen=True, slots=True)
class TuningConf:
    """What to change. "", 0, None, and for `promiscuous` False, mean that it stays as it is."""

    sysctls: Mapping[str, str]
    mac: str
    promiscuous: bool
    mtu: int
    all_multicast: bool | None
    queue: int | None


def read(request: Request) -> TuningConf:
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
    return TuningConf(
        sysctls=_strings(ours, "sysctl") | _strings(args, "sysctl"),
        mac=next(filter(None, macs), ""),
        promiscuous=bool(_boolean(args, "promisc", _boolean(ours, "promisc"))),
        mtu=_integer(args, "mtu", ours.integer("mtu")) or 0,
        all_multicast=_boolean(args, "allmulti", _boolean(ours, "allmulti")),
        queue=_integer(args, "txQLen", ours.integer("txQLen")),
    )


def _strings(fields: Fields, key: str) -> dict[str, str]:
    found = fields.object(key)
    # names of sysctls match exactly, not in any case
    return {name: found.string(name) for name in found.values}


def _boolean(fields: Fields, key: str, otherwise: bool | None = None) -> bool | None:
    return otherwise if fields.get(key) is None else fields.boolean(key)


def _integer(fields: Fields, key: str, otherwise: int | None) -> int | None:
    found = fields.integer(key)
    return otherwise if found is None else found


def changes(ifname: str, conf: TuningConf) -> list[Message]:
    """The changes of the interface, in the order of the reference. Raises PluginFailure for a malformed MAC."""
    messages = []
    if conf.mac:
        try:
            messages.append(links.set_mac(ifname, conf.mac))
        except ValueError as error:
            raise PluginFailure(f"invalid args {conf.mac} for MAC addr: {error}") from None
    if conf.promiscuous:
        messages.append(links.set_flags(ifname, on=links.PROMISCUOUS))
    if conf.mtu:
        messages.append(links.set_mtu(ifname, conf.mtu))
    if conf.all_multicast is not None:
        messages.append(_switch(ifname, links.ALL_MULTICAST, on=conf.all_multicast))
    if conf.queue is not None:
        messages.append(links.set_queue(ifname, conf.queue))
    return messages


def restoring(ifname: str, saved: Fields) -> list[Message]:
    """The changes that restore the state of a backup. Raises DocumentError if it has wrong types."""
    messages = []
    if mtu := saved.integer("mtu"):
        messages.append(links.set_mtu(ifname, mtu))
    if mac := saved.string("mac"):
        messages.append(links.set_mac(ifname, mac))
    for key, flag in (("promisc", links.PROMISCUOUS), ("allmulti", links.ALL_MULTICAST)):
        if saved.get(key) is not None:
            messages.append(_switch(ifname, flag, on=saved.boolean(key)))
    if (queue := saved.integer("txQLen")) is not None:
        messages.append(links.set_queue(ifname, queue))
    return messages


def _switch(ifname: str, flag: int, *, on: bool) -> Message:
    return links.set_flags(ifname, on=flag) if on else links.set_flags(ifname, off=flag)


def check(ifname: str, conf: TuningConf, found: Link) -> None:
    """Raise PluginFailure for the first setting of `conf` that the link does not have."""
    if conf.mac and conf.mac != found.mac:
        raise differs(f"Ethernet of {ifname}", conf.mac, found.mac)
    if conf.promiscuous != bool(found.promiscuous):
        mode, current = str(conf.promiscuous).lower(), f"current value is {found.promiscuity}"
        raise PluginFailure(f"Error: Tuning link {ifname} configured promisc is {mode}, {current}")
    if conf.mtu and conf.mtu != found.mtu:
        raise differs(f"MTU of {ifname}", conf.mtu, found.mtu)
    if conf.all_multicast not in (None, found.all_multicast):
        flags = (str(value).lower() for value in (conf.all_multicast, found.all_multicast))
        raise differs(f"all-multicast mode of {ifname}", *flags)
    if conf.queue not in (None, found.queue):
        raise differs(f"Transmit Queue Length of {ifname}", conf.queue, found.queue)


def differs(what: str, configured: object, current: object) -> PluginFailure:
    """The error of a CHECK that found another value than the configured one."""
    return PluginFailure(f"Error: Tuning configured {what} is {configured}, current value is {current}")
