"""What a plugin gets: its configuration, and the CNI_* variables."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from dockercni.cni import names, strict_json
from dockercni.cni.cache_entry import CacheEntry
from dockercni.cni.conf import NetworkList, PluginConf
from dockercni.cni.errors import CNIError, ErrorCode, InvalidParameters
from dockercni.cni.result import Result


@dataclass(frozen=True, slots=True)
class RuntimeConf:
    """What the runtime knows of one attachment: libcni's RuntimeConf.

    `args` become CNI_ARGS, `capability_args` (portMappings, ips, ...) the runtimeConfig of the plugins that declare
    them. `owner` is recorded in the cache for the caller. `inherit` are descriptors that the plugins keep open.
    """

    container_id: str
    netns: str
    ifname: str
    args: tuple[tuple[str, str], ...] = ()
    capability_args: Mapping[str, Any] = field(default_factory=dict)
    owner: Mapping[str, str] = field(default_factory=dict)
    inherit: Sequence[int] = ()


def validate(network: str, attachment: RuntimeConf) -> None:
    """Raise InvalidParameters for what no ADD may have by libcni's rules, or what cannot be passed on."""
    names.validate_container_id(attachment.container_id)
    names.validate_network_name(network)
    names.validate_ifname(attachment.ifname)
    _validate_text("network namespace", attachment.netns)
    for key, value in attachment.args:
        _validate_text(f"argument {key!a}", key + value)
        # readers of CNI_ARGS take these for separators, and there is no way to quote them
        if not key or any(separator in text for separator in ";=" for text in (key, value)):
            raise InvalidParameters(f"argument {key!a} is empty, or it or its value {value!a} contains ; or =")


def as_json(capability_args: Mapping[str, Any]) -> Mapping[str, Any]:
    """The capability arguments as a plugin reads them: lists for tuples, strings for keys. Raises InvalidParameters."""
    try:
        found: Mapping[str, Any] = strict_json.decode(strict_json.encode(dict(capability_args)))
    except (TypeError, ValueError, RecursionError, CNIError) as error:
        problem = "capability arguments are not JSON"
        raise InvalidParameters(problem, str(error), code=ErrorCode.INVALID_CONFIGURATION) from error
    return found


def for_attachment(
    network: NetworkList, plugin: PluginConf, entry: CacheEntry, previous: Result | None
) -> dict[str, Any]:
    """The configuration for ADD, CHECK and DEL (specification, section 4, "Deriving runtimeConfig" and around it)."""
    injected: dict[str, Any] = {}
    wanted = {key: value for key, value in entry.capability_args.items() if key in plugin.capabilities}
    if wanted:
        injected["runtimeConfig"] = wanted
    if previous is not None:
        injected["prevResult"] = previous.raw
    return for_network(network, plugin, injected)


def for_network(network: NetworkList, plugin: PluginConf, injected: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration for a verb that has no attachment: the plugin's own object, and what the runtime adds."""
    injected = {"name": network.name, "cniVersion": network.cni_version, **injected}
    # plugins match keys in any case, so no other spelling of these keys may remain
    ours = {key.lower() for key in injected}
    own = {key: value for key, value in plugin.raw.items() if key.lower() not in ours}
    return {**own, **injected}


def environment(verb: str, entry: CacheEntry, path: str) -> dict[str, str]:
    """The CNI_* variables of ADD, CHECK and DEL."""
    return {
        "CNI_COMMAND": verb,
        "CNI_CONTAINERID": entry.container_id,
        "CNI_NETNS": entry.netns,
        "CNI_IFNAME": entry.ifname,
        "CNI_ARGS": ";".join(f"{key}={value}" for key, value in entry.args),
        "CNI_PATH": path,
    }


def _validate_text(what: str, text: str) -> None:
    try:
        encoded = os.fsencode(text)
    except UnicodeEncodeError:
        raise InvalidParameters(f"{what} is not text", ascii(text)) from None
    if b"\0" in encoded:
        raise InvalidParameters(f"{what} contains a NUL", ascii(text))
