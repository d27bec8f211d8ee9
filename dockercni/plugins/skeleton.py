"""One verb of a plugin from environment and stdin to result or error, as the Go plugin skeleton (pkg/skel) does it.

Deviations: a CNI_NETNS that is the plugin's own namespace is refused before anything is done, not afterwards; a key
that the plugin does not know is refused, where the reference plugins ignore it.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from dockercni.cni import names, result, strict_json, versions
from dockercni.cni.errors import CNIError, ErrorCode, InvalidParameters, ResultError, VersionError
from dockercni.cni.strict_json import DocumentError, Fields
from dockercni.cni.versions import Feature
from dockercni.plugins import keys
from dockercni.plugins.contract import PluginFailure, Request

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from dockercni.cni.result import Result
    from dockercni.cni.runner import PluginCall, PluginRunner
    from dockercni.plugins.contract import Plugin

_REQUIRED = {
    "ADD": ("CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_PATH"),
    "CHECK": ("CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_PATH"),
    "DEL": ("CNI_CONTAINERID", "CNI_IFNAME", "CNI_PATH"),
    "GC": ("CNI_PATH",),
    "STATUS": ("CNI_PATH",),
}
_SINCE = {"CHECK": Feature.CHECK, "GC": Feature.GC, "STATUS": Feature.STATUS}
_VALID = {"CNI_CONTAINERID": names.validate_container_id, "CNI_IFNAME": names.validate_ifname}


def serve(
    plugin: Plugin,
    supported: Sequence[str],
    call: PluginCall,
    runner: PluginRunner,
    *,
    opens: bool = True,
    unchosen: bool = True,
) -> Result | None:
    """Carry `call` out by `plugin`, and return the result of an ADD, in the configuration's version.

    Raises CNIError with the codes of the skeleton: 4 for missing or bad variables, 6 for keys of a wrong type, 7 for a
    missing or bad name, 1 for a version that the plugin or the verb does not have, 8 for the plugin's own namespace,
    999 for an OSError; and with `unchosen`, where nobody has asked `plugin.unsupported` before, 2 for a key that ADD
    does not serve. Whatever else is raised is a defect of the plugin.
    """
    check_environment(call.verb, call.environment)
    request = _request(call, runner, opens=opens)
    _check_version(call.verb, request.cni_version, supported)
    if call.verb in {"ADD", "DEL"}:
        _check_namespace(call)
    if unchosen and call.verb in {"ADD", "STATUS"}:  # DEL must work whatever the configuration says by now
        _check_supported(plugin, request)
    try:
        match call.verb:
            case "ADD":
                return _converted(plugin.add(request), request)
            case "CHECK":
                plugin.check(request)
            case "DEL":
                plugin.delete(request)
            case "GC":
                plugin.gc(request)
            case "STATUS":
                plugin.status(request)
    except OSError as error:
        raise PluginFailure(_words(error)) from error
    return None


def check_environment(verb: str, environment: Mapping[str, str]) -> None:
    """Raise InvalidParameters, codes 3 and 4, for variables that are missing or bad."""
    if verb and verb not in _REQUIRED:
        raise InvalidParameters(f"unknown CNI_COMMAND: {verb}")
    missing = [] if verb else ["CNI_COMMAND"]
    for name in _REQUIRED.get(verb, ()):
        value = environment.get(name, "")
        if not value:
            missing.append(name)
        elif name in _VALID:
            _VALID[name](value)
    if missing:
        raise InvalidParameters(f"required env variables [{','.join(missing)}] missing")


def read_config(data: bytes) -> Mapping[str, Any]:
    """The configuration that stands on stdin. Raises CNIError, code 6, for what is no JSON object."""
    try:
        return Fields.of(strict_json.decode(data)).values
    except DocumentError as error:
        raise _no_config(error) from None


def _no_config(error: DocumentError) -> CNIError:
    return CNIError(f"error unmarshall network config: {error}", ErrorCode.DECODING_FAILURE)


def _request(call: PluginCall, runner: PluginRunner, *, opens: bool) -> Request:
    fields = Fields(call.config)
    try:
        name, version = fields.string("name"), fields.string("cniVersion")
    except DocumentError as error:
        raise _no_config(error) from None
    names.validate_network_name(name)
    verb_of_container = call.verb in {"ADD", "CHECK", "DEL"}
    environment = call.environment if verb_of_container else {}
    return Request(
        call=call,
        conf=call.config,
        name=name,
        cni_version=version or versions.OLDEST,
        container_id=environment.get("CNI_CONTAINERID", ""),
        netns=environment.get("CNI_NETNS", ""),
        ifname=environment.get("CNI_IFNAME", ""),
        runner=runner,
        opens=opens,
    )


def _check_version(verb: str, version: str, supported: Sequence[str]) -> None:
    feature = _SINCE.get(verb)
    if feature and not versions.supports(version, feature):
        raise VersionError(f"config version does not allow {verb}")
    if version not in supported:
        listed = " ".join(f'"{each}"' for each in supported)
        raise VersionError("incompatible CNI versions", f'config is "{version}", plugin supports [{listed}]')


def _check_namespace(call: PluginCall) -> None:
    if call.environment.get("CNI_NETNS_OVERRIDE", "").lower() in {"1", "true"}:
        return
    try:
        given = os.stat(call.environment.get("CNI_NETNS", ""))
    except (OSError, ValueError):  # the plugin reports what is wrong with it, or at DEL accepts it
        return
    if os.path.samestat(given, os.stat("/proc/thread-self/ns/net")):
        problem = "plugin's netns and netns from CNI_NETNS should not be the same"
        raise CNIError(problem, ErrorCode.INVALID_NAMESPACE)


def _check_supported(plugin: Plugin, request: Request) -> None:
    """Refuse what `auto` would leave to the executable, because here is no other executable."""
    if reason := plugin.unsupported(request.conf):
        code = ErrorCode.PLUGIN_NOT_AVAILABLE if reason == keys.NO_LIBRARY else ErrorCode.UNSUPPORTED_FIELD
        raise CNIError(f"cannot serve this configuration: {reason}", code)


def _converted(added: Result, request: Request) -> Result:
    try:
        converted = result.convert(added, request.cni_version)
    except ResultError as error:
        raise PluginFailure(error.msg) from None
    if request.netns.isascii() and request.ifname.isascii():
        return converted
    # File names that are not UTF-8 contain lone surrogates, which become U+FFFD in JSON.
    return result.parse(strict_json.encode(converted.raw), request.cni_version)


def _words(error: OSError) -> str:
    text = error.strerror or str(error)
    return f"{error.filename}: {text}" if error.filename else text
