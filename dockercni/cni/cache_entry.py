"""The format of one file of the cache: libcni's record of an attachment, and an object of ours that libcni ignores."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final

import msgspec

from dockercni.cni import conf, strict_json, versions
from dockercni.cni.errors import CacheError, EntryTooNew
from dockercni.cni.result import Result, parse

KIND: Final = "cniCacheV1"
SCHEMA: Final = 1  # of our own object; an entry with a higher one was written by a newer version
# Files keep the name that the built-in backend had in 0.1.0, which reads them after a downgrade. It takes any other
# name for that of executables, whose DEL would leave the elements of our nftables table behind.
_STORED: Final = {"builtin": "native"}
_READ: Final = {stored: name for name, stored in _STORED.items()}
_DEPTH: Final = strict_json.MAX_DEPTH + 8  # the deepest accepted input, and our own levels around it


@dataclass(frozen=True)
class CacheEntry:
    """One attachment as recorded.

    `config` is the network's conflist, with the plugins of its subdirectory merged in, so that DEL needs no other file.
    `done` plugins have finished, and `result` is what the last of them printed. `served` names the backend of each
    plugin. `owner` holds whatever the program that attached wants to read again later; it is None in entries of other
    runtimes, which have no `served` and `done` either. A record of libcni before 0.8 is a bare result: its entry has no
    `config` and `netns`.
    """

    network: str
    container_id: str
    ifname: str
    netns: str
    config: bytes
    args: tuple[tuple[str, str], ...] = ()
    capability_args: Mapping[str, Any] = field(default_factory=dict)
    result: Mapping[str, Any] | None = None
    served: tuple[str, ...] = ()
    done: int = 0
    owner: Mapping[str, str] | None = None

    @property
    def complete(self) -> bool:
        """Whether ADD got through the whole list."""
        return self.result is not None and self.done == len(self.served)

    @cached_property
    def attached(self) -> Result:
        """The recorded `result`; an empty one before the first plugin has finished. Raises ResultError."""
        return parse(self.result, versions.OLDEST) if self.result else Result(versions.OLDEST)

    @property
    def key(self) -> tuple[str, str, str]:
        """The identity of an attachment: network, container id, interface name."""
        return self.network, self.container_id, self.ifname

    @property
    def file_name(self) -> str:
        """libcni's name for the file. Its parts may contain "-", so it cannot be split again."""
        return "-".join(self.key)

    def network_list(self) -> conf.NetworkList:
        """The network as ADD recorded it, even a single plugin (libcni's AddNetwork). Raises ConfigurationError.

        Records of libcni lack the plugins that it took from the network's subdirectory.
        """
        try:
            value = strict_json.decode(self.config)
        except strict_json.DocumentError:
            value = None
        single = isinstance(value, dict) and "plugins" not in value and strict_json.lookup(value, "type") is not None
        return conf.parse_plugin(self.config) if single else conf.parse_list(self.config)


class _Ours(msgspec.Struct, frozen=True):
    schema: int
    served: tuple[str, ...]
    done: int
    owner: dict[str, str]


class _Schema(msgspec.Struct, frozen=True):
    schema: int


class _Stored(msgspec.Struct, frozen=True, omit_defaults=True):
    kind: str
    containerId: str  # noqa: N815  libcni's name of the key
    config: str | None  # Go writes null for no bytes
    ifName: str  # noqa: N815  libcni's
    networkName: str  # noqa: N815  libcni's
    netns: str | None = None
    cniArgs: tuple[tuple[str, str], ...] | None = None  # noqa: N815  libcni's
    capabilityArgs: dict[str, Any] | None = None  # noqa: N815  libcni's
    result: dict[str, Any] | None = None
    dockercni: Any = None


# msgspec analyses a type at its first use, and crashes if two threads cause that at once, so it is caused here.
msgspec.json.Decoder(_Stored)


def encode(entry: CacheEntry) -> bytes:
    """The file that records `entry`."""
    ours = (
        _Ours(SCHEMA, stored_backends(entry.served), entry.done, dict(entry.owner)) if entry.owner is not None else None
    )
    stored = _Stored(
        kind=KIND,
        containerId=entry.container_id,
        config=base64.b64encode(entry.config).decode("ascii"),
        ifName=entry.ifname,
        networkName=entry.network,
        netns=entry.netns or None,
        cniArgs=entry.args or None,
        capabilityArgs=dict(entry.capability_args) or None,
        result=dict(entry.result) if entry.result is not None else None,
        dockercni=ours,
    )
    return strict_json.encode(msgspec.to_builtins(stored))


def decode(data: bytes) -> CacheEntry | Mapping[str, Any]:
    """The content of a file: an entry, or the bare result that libcni wrote before 0.8. Raises CacheError."""
    try:
        value = strict_json.decode(data, depth=_DEPTH)
        if isinstance(value, dict) and "kind" not in value and any(key in value for key in _RESULT_KEYS):
            return value
        stored = msgspec.convert(value, _Stored)
        if stored.kind != KIND:
            raise CacheError(f'its kind is {strict_json.shown(stored.kind)}, not "{KIND}"')
        ours = _ours(stored.dockercni)
        config = base64.b64decode(stored.config or "", validate=True)
    except (strict_json.DocumentError, ValueError) as error:  # msgspec's and base64's own errors are ValueErrors
        raise CacheError(str(error)) from error
    return CacheEntry(
        network=stored.networkName,
        container_id=stored.containerId,
        ifname=stored.ifName,
        netns=stored.netns or "",
        config=config,
        args=stored.cniArgs or (),
        capability_args=stored.capabilityArgs or {},
        result=stored.result,
        served=backends(ours.served) if ours else (),
        done=ours.done if ours else 0,
        owner=ours.owner if ours else None,
    )


def backends(stored: Iterable[str]) -> tuple[str, ...]:
    """The backends that a file names."""
    return tuple(_READ.get(name, name) for name in stored)


def stored_backends(names: Iterable[str]) -> tuple[str, ...]:
    """The names of backends in files."""
    return tuple(_STORED.get(name, name) for name in names)


_RESULT_KEYS: Final = ("interfaces", "ips", "ip4", "ip6")


def _ours(value: Any) -> _Ours | None:
    if value is None:
        return None
    # the schema first: other keys of a newer version cannot be judged
    schema = msgspec.convert(value, _Schema).schema
    if schema > SCHEMA:
        raise EntryTooNew(f"it was written by a newer version (schema {schema}; this one knows {SCHEMA})")
    return msgspec.convert(value, _Ours)
