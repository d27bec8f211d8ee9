"""Container -> network requests, from its labels and its published ports. Pure."""

from __future__ import annotations

import contextlib
import difflib
import re
from dataclasses import dataclass, replace
from ipaddress import ip_address
from typing import Final

from dockercni import durations
from dockercni.errors import LabelError
from dockercni.model import Container, IPAddress, NetworkRequest, Unwanted

PREFIX: Final = "dockercni."
_PER_NETWORK: Final = ("ip", "mac", "args")
_KNOWN: Final = ("enable", "networks", "gateway", *_PER_NETWORK, "ports", "aliases", "hold", "on-failure")
_ON_FAILURE: Final = ("leave", "hold", "stop")

_NETWORK: Final = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]*")
_IFNAME: Final = re.compile(r"[^\s/:@,\0]+")
_IFNAME_BYTES: Final = 15
_NETWORKS: Final = 64  # of one container; more is a mistake, and some work grows with the square of their number
_MAC: Final = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")
_ARG_KEY: Final = re.compile(r"[A-Za-z0-9_./-]+")
_ARG_VALUE: Final = re.compile(r"[!-:<>-~]*")  # printable ASCII but ";" and "="

_DOUBTFUL: Final = (
    "the image has the same label, so it is not clear whether you asked for it: spell it another way, remove it from "
    "the image (docker commit --change 'LABEL NAME='), or set trust-image-labels"
)

_ORCHESTRATORS: Final = {
    "io.kubernetes.docker.type": "Kubernetes",
    "io.kubernetes.pod.uid": "Kubernetes",
    "com.hashicorp.nomad.alloc_id": "Nomad",
}


@dataclass(frozen=True, slots=True)
class Holding:
    """For how many seconds a container may be held while it starts (0: not at all), and what a failed ADD means.

    `on_failure` is "leave" (it runs), "hold" (it waits, to the limit) or "stop" (it is killed).
    """

    seconds: float = 0.0
    on_failure: str = "leave"


@dataclass(frozen=True, slots=True)
class _Label:
    """One of our labels: its name without the prefix, split."""

    full: str
    kind: str
    network: str
    value: str

    def error(self, problem: str) -> LabelError:
        return LabelError(self.full, self.value, problem)


def requests(container: Container, attach: str = "all") -> tuple[NetworkRequest, ...] | Unwanted:
    """The networks that `container` is to have, or why it is to have none. `attach` is the setting of that name.

    Raises LabelError for a label of ours that is unknown or malformed.
    """
    wanted = _requests(container, attach)
    # Labels of the image are ignored. But `docker commit` writes the user's labels into the image, and a container that
    # is run from it with the same label must not end up on another network.
    for label, value in sorted(container.dropped.items()):
        if label.startswith(PREFIX) and value and _changes(container, attach, wanted, label, value):
            raise LabelError(label, value, _DOUBTFUL)
    return wanted


def _changes(container: Container, attach: str, wanted: object, label: str, value: str) -> bool:
    """Whether that label would change what is wanted."""
    try:
        return _requests(replace(container, labels={**container.labels, label: value}), attach) != wanted
    except LabelError:
        return not isinstance(wanted, Unwanted)


def _requests(container: Container, attach: str) -> tuple[NetworkRequest, ...] | Unwanted:
    if (mode := container.network_mode) != "none":
        return Unwanted(f"its network mode is {mode}, not none")
    for mark, orchestrator in _ORCHESTRATORS.items():
        if mark in container.labels:
            return Unwanted(f"{orchestrator} wires its own containers (label {mark})")
    labels = _ours(container)
    plain = {label.kind: label for label in labels if not label.network}
    if "enable" in plain and not _boolean(plain["enable"]):
        return Unwanted("label dockercni.enable=false")
    for label in labels:
        _refuse_what_is_not_built(label)
    holding(container)
    gateway(container)
    if attach == "labelled" and not labels:
        return Unwanted('it has no dockercni label, and the setting attach is "labelled"')
    wanted = _networks(plain["networks"]) if "networks" in plain else [("", "eth0")]
    return tuple(_request(network, ifname, wanted, labels) for network, ifname in wanted)


def holding(container: Container, default: Holding | None = None) -> Holding:
    """How long it is held while it starts, and what a failure means; `default` without a label.

    Raises LabelError.
    """
    found = default or Holding()
    for label in _ours(container):
        found = _said(label, found)
    return found


def usable(container: Container, default: Holding) -> Holding:
    """As `holding`, but a malformed label counts as missing, and the others count all the same.

    So a container with `on-failure=stop` and a misspelt label is stopped, not started without a network.
    """
    found = default
    for full, value in _prefixed(container):
        with contextlib.suppress(LabelError):
            found = _said(_split(full, value), found)
    return found


def _said(label: _Label, default: Holding) -> Holding:
    if label.kind == "hold":
        return replace(default, seconds=_seconds(label))
    if label.kind == "on-failure":
        return replace(default, on_failure=_on_failure(label))
    return default


def gateway(container: Container) -> str:
    """The network that is to have the default route; "" for the first that has one. Raises LabelError."""
    for label in _ours(container):
        if label.kind == "gateway":
            if not _NETWORK.fullmatch(label.value):
                raise label.error("must be the name of one of the container's networks")
            return label.value
    return ""


def _ours(container: Container) -> list[_Label]:
    return [_split(full, value) for full, value in _prefixed(container)]


def _prefixed(container: Container) -> list[tuple[str, str]]:
    return [(full, value) for full, value in sorted(container.labels.items()) if full.startswith(PREFIX)]


def _split(full: str, value: str) -> _Label:
    kind, _, network = full.removeprefix(PREFIX).partition(".")
    if kind not in _KNOWN or (network and kind not in (*_PER_NETWORK, "ports")):
        near = difflib.get_close_matches(kind[:80], _KNOWN, 1)
        raise LabelError(full, value, "unknown label" + (f"; did you mean {PREFIX}{near[0]}?" if near else ""))
    if full.endswith("."):
        raise LabelError(full, value, "the network's name is missing after the dot")
    return _Label(full, kind, network, value)


def _refuse_what_is_not_built(label: _Label) -> None:
    if label.kind in {"ports", "aliases"}:
        raise label.error("not supported yet")


def _seconds(label: _Label) -> float:
    try:
        return 0.0 if label.value == "off" else durations.seconds(label.value)
    except ValueError:
        raise label.error(f'must be "off" or {durations.ALLOWED}') from None


def _on_failure(label: _Label) -> str:
    if label.value not in _ON_FAILURE:
        raise label.error("must be leave, hold or stop")
    return label.value


def _boolean(label: _Label) -> bool:
    if label.value not in {"true", "false"}:
        raise label.error("must be true or false")
    return label.value == "true"


def _networks(label: _Label) -> list[tuple[str, str]]:
    wanted: list[tuple[str, str]] = []
    items = label.value.split(",", _NETWORKS)
    if len(items) > _NETWORKS:
        raise label.error(f"asks for more than {_NETWORKS} networks")
    for position, item in enumerate(items):
        network, at, ifname = item.strip().partition("@")
        if not _NETWORK.fullmatch(network):
            raise label.error(f'"{network}" is not a network name')
        if at and not _is_ifname(ifname):
            raise label.error(f'"{ifname}" is not an interface name')
        if ifname == "lo":
            raise label.error('the interface "lo" is there already')
        wanted.append((network, ifname or f"eth{position}"))
    names = [ifname for _, ifname in wanted]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise label.error(f'two interfaces would be named "{twice}"')
    return wanted


def _is_ifname(text: str) -> bool:
    size = len(text.encode("utf-8", "surrogatepass"))
    return bool(_IFNAME.fullmatch(text)) and size <= _IFNAME_BYTES and text not in {".", ".."}


def _request(network: str, ifname: str, wanted: list[tuple[str, str]], labels: list[_Label]) -> NetworkRequest:
    mine: dict[str, _Label] = {}
    for label in labels:
        if label.kind not in _PER_NETWORK:
            continue
        if label.network:
            asked = [name for name, _ in wanted].count(label.network)
            if asked != 1 and network:
                why = "asks for it more than once" if asked else "does not ask for that network"
                raise label.error(f"the container {why}")
        elif len(wanted) > 1:
            raise label.error(f"the container asks for several networks: say which, as in {label.full}.{wanted[0][0]}")
        if label.network in {"", network} or not network:
            if label.kind in mine:
                raise label.error(f"{mine[label.kind].full} says the same thing")
            mine[label.kind] = label
    return NetworkRequest(
        network=network,
        ifname=ifname,
        ips=_addresses(mine["ip"]) if "ip" in mine else (),
        mac=_mac(mine["mac"]) if "mac" in mine else "",
        args=_args(mine["args"]) if "args" in mine else (),
    )


def _addresses(label: _Label) -> tuple[IPAddress, ...]:
    found: list[IPAddress] = []
    for text in label.value.split(","):
        if "/" in text:
            raise label.error("an address without a prefix length is asked for: the network has its own")
        try:
            address = ip_address(text.strip())
        except ValueError:
            raise label.error(f'"{text}" is not an IP address') from None
        if any(address.version == other.version for other in found):
            raise label.error(f"two IPv{address.version} addresses; one for each family can be asked for")
        found.append(address)
    return tuple(found)


def _mac(label: _Label) -> str:
    mac = label.value.strip().lower().replace("-", ":")
    if not _MAC.fullmatch(mac):
        raise label.error("not a MAC address such as 02:42:ac:11:00:02")
    if int(mac[:2], 16) & 1 or mac == "00:00:00:00:00:00":
        raise label.error("a multicast or zero address cannot be given to an interface")
    return mac


def _args(label: _Label) -> tuple[tuple[str, str], ...]:
    found: dict[str, str] = {}
    for item in label.value.split(";"):
        key, equals, value = item.partition("=")
        if not equals or not _ARG_KEY.fullmatch(key) or not _ARG_VALUE.fullmatch(value):
            raise label.error(f'"{item}" is not KEY=VALUE of printable characters without ";" and "="')
        if key in found:
            raise label.error(f"{key} stands there twice")
        found[key] = value
    return tuple(found.items())
