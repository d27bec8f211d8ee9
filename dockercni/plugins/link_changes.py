"""The tuning plugin's wishes as messages to the kernel, and back."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dockercni.linux import links
from dockercni.plugins.contract import PluginFailure

if TYPE_CHECKING:
    from dockercni.cni.strict_json import Fields
    from dockercni.linux.links import Link
    from dockercni.linux.netlink import Message
    from dockercni.plugins.wishes import Wish


def wanted(ifname: str, wish: Wish) -> list[Message]:
    """What fulfils `wish`, in the order of the reference. Raises PluginFailure for a MAC that is none."""
    messages = []
    if wish.mac:
        try:
            messages.append(links.set_mac(ifname, wish.mac))
        except ValueError as error:
            raise PluginFailure(f"invalid args {wish.mac} for MAC addr: {error}") from None
    if wish.promiscuous:
        messages.append(links.set_flags(ifname, on=links.PROMISCUOUS))
    if wish.mtu:
        messages.append(links.set_mtu(ifname, wish.mtu))
    if wish.all_multicast is not None:
        messages.append(_switch(ifname, links.ALL_MULTICAST, on=wish.all_multicast))
    if wish.queue is not None:
        messages.append(links.set_queue(ifname, wish.queue))
    return messages


def back(ifname: str, saved: Fields) -> list[Message]:
    """What restores the state that a backup holds. Raises DocumentError for one of wrong types."""
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


def check(ifname: str, wish: Wish, found: Link) -> None:
    """Raise PluginFailure for the first part of `wish` that is not so."""
    if wish.mac and wish.mac != found.mac:
        raise differs(f"Ethernet of {ifname}", wish.mac, found.mac)
    if wish.promiscuous != bool(found.promiscuous):
        mode, current = str(wish.promiscuous).lower(), f"current value is {found.promiscuity}"
        raise PluginFailure(f"Error: Tuning link {ifname} configured promisc is {mode}, {current}")
    if wish.mtu and wish.mtu != found.mtu:
        raise differs(f"MTU of {ifname}", wish.mtu, found.mtu)
    if wish.all_multicast not in (None, found.all_multicast):
        flags = (str(value).lower() for value in (wish.all_multicast, found.all_multicast))
        raise differs(f"all-multicast mode of {ifname}", *flags)
    if wish.queue not in (None, found.queue):
        raise differs(f"Transmit Queue Length of {ifname}", wish.queue, found.queue)


def differs(what: str, configured: object, current: object) -> PluginFailure:
    """The error of a CHECK that found something else than what is configured."""
    return PluginFailure(f"Error: Tuning configured {what} is {configured}, current value is {current}")
