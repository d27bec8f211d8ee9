"""What a plugin in this process is: a module with seven functions that give the results and errors of an executable."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from dockercni.cni import result
from dockercni.cni.errors import CNIError, ErrorCode, ResultError
from dockercni.cni.strict_json import Fields

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dockercni.cni.result import Result
    from dockercni.cni.runner import PluginCall, PluginRunner

_FLAGS = {"1": True, "true": True, "0": False, "false": False}


class PluginFailure(CNIError):
    """An error of a plugin in its own words: code 999, which the Go skeleton gives to every error without a code."""

    def __init__(self, msg: str, code: int = ErrorCode.INTERNAL, details: str = "") -> None:
        super().__init__(msg, code, details)


@dataclass(frozen=True, slots=True)
class Request:
    """One verb, taken apart: the CNI_* variables and the configuration.

    `conf` is the whole object as a plugin gets it (name, cniVersion, ipam, runtimeConfig, args, prevResult, ...).
    `netns` is "" if it is gone; container id, netns and ifname are "" for GC and STATUS. `runner` serves the plugins
    that this one delegates to (see `ipam`), and `call` is what came in. `opens` is False if
    the caller opens FORWARD itself, from its records, so that the firewall plugin need not. `fields` is the
    configuration to be read with types, and keys in any case; a wrong type raises DocumentError, code 7.
    """

    call: PluginCall
    conf: Mapping[str, Any]
    name: str
    cni_version: str
    container_id: str
    netns: str
    ifname: str
    runner: PluginRunner
    opens: bool = True
    fields: Fields = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "fields", Fields(self.conf))

    @property
    def previous(self) -> Result | None:
        """`prevResult` as a result; None if there is none. Raises ResultError."""
        raw = self.fields.get("prevResult")
        if raw is None:
            return None
        if not isinstance(raw, dict):
            raise ResultError("must be an object", key="prevResult")
        read = self.call.previous
        return read if read is not None and read.raw is raw else result.parse(raw, self.cni_version)

    def arguments(self, *known: str) -> dict[str, str]:
        """CNI_ARGS, `K=V;K2=V2`, as far as the keys are `known`; the last of equal keys wins.

        Raises PluginFailure for what is no pair and, unless IgnoreUnknown is 1 or true, for any other key: the rules
        and words of the Go library (types.LoadArgs).
        """
        text = self.call.environment.get("CNI_ARGS", "")
        found: dict[str, str] = {}
        unknown: list[str] = []
        ignore = False
        for pair in text.split(";") if text else ():
            key, equals, value = pair.partition("=")
            if not equals or "=" in value:
                raise PluginFailure(f'ARGS: invalid pair "{pair}"')
            if key == "IgnoreUnknown":
                if value.lower() not in _FLAGS:
                    problem = f"boolean unmarshal error: invalid input {value.lower()}"
                    raise PluginFailure(f'ARGS: error parsing value of pair "{pair}": {problem}')
                ignore = _FLAGS[value.lower()]
            elif key in known:
                found[key] = value
            else:
                unknown.append(pair)
        if unknown and not ignore:
            listed = " ".join(f'"{pair}"' for pair in unknown)
            raise PluginFailure(f"ARGS: unknown args [{listed}]")
        return found


class Plugin(Protocol):
    """A module of this package. Every verb raises CNIError with the code and words of the reference plugin.

    OSError means code 999 with its text; whatever else is raised is a defect, and becomes code 999 too.
    """

    def unsupported(self, conf: Mapping[str, Any]) -> str:
        """Why this configuration must be left to the executable; "" if it need not. `auto` asks before ADD.

        `conf` is the object of one plugin with name and cniVersion, without what the runtime adds at the call. It need
        not be valid: the verbs report what is wrong. See `keys.unknown`.
        """

    def validate(self, request: Request) -> None:
        """Read the whole configuration as ADD does, and refuse what ADD would refuse, without touching the system."""

    def add(self, request: Request) -> Result:
        """Create, and return the result, in any version: the caller converts it to that of the request."""

    def check(self, request: Request) -> None:
        """Compare the kernel with `previous`."""

    def delete(self, request: Request) -> None:
        """Remove what ADD made. Success if it is gone already."""

    def status(self, request: Request) -> None:
        """Raise unless an ADD could be served now."""

    def gc(self, request: Request) -> None:
        """Remove what belongs to no valid attachment (conf "cni.dev/valid-attachments")."""
