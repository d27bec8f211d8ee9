"""`dockercni networks validate FILE...`: check configurations before use; needs neither root nor an engine."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from dockercni import render
from dockercni.cni import CNIError, NetworkList, PluginConf, load_file, strict_json
from dockercni.commands.plugin_versions import PluginVersions, Probe
from dockercni.commands.table import FAILED, Invocation
from dockercni.commands.validation import meaning, places, schemas
from dockercni.commands.validation.host import HostLinks
from dockercni.commands.validation.meaning import Problem
from dockercni.settings import nearest

CAPABILITIES: Final = (  # from the specification, and of well-known plugins
    "aliases", "bandwidth", "cgroupPath", "deviceID", "dns", "infinibandGUID", "ipRanges", "ips", "mac", "portMappings"
)  # fmt: skip


def run(invocation: Invocation) -> int:
    """Print a line for each good network, and one for each problem.

    JSON keys: networks [{file, name, cniVersion, plugins {TYPE: {path, versions}}, capabilities}], problems [text].
    """
    probe, host = Probe(invocation.settings), _host()
    owners: dict[str, Path] = {}
    good, problems = [], []
    for name in invocation.args.files:
        path = Path(name)
        try:
            network = load_file(path)
        except CNIError as error:
            problems.append(str(error))
            continue
        plugins = probe.plugins(network)
        wrong = list(_problems(path, network, plugins, owners, host))
        problems.extend(wrong)
        if not wrong:
            good.append((path, network, plugins))
    if invocation.output == "json":
        render.json({"networks": [_shown(*one) for one in good], "problems": problems})
    else:
        for one in good:
            render.line(_line(*one))
        for problem in problems:
            render.line(problem)
    return FAILED if problems else 0


def _problems(
    path: Path, network: NetworkList, plugins: Sequence[PluginVersions], owners: dict[str, Path], host: HostLinks | None
) -> Iterator[str]:
    text = path.read_text(encoding="utf-8", errors="replace")
    where = places.keys(text)
    single = not any(key.startswith("plugins[") for key in where)
    owner = owners.setdefault(network.name, path)
    if owner != path:
        yield f'{_place(path, where, "name")}: network "{network.name}" is already defined by {owner}'
    for one in plugins:
        if one.problem:
            yield f"{_place(path, where, _type_of(network, one.type, single))}: {one.problem}"
        elif network.cni_version not in one.versions:
            place = _place(path, where, "cniVersion")
            yield f"{place}: plugin {one.type} ({one.path}) supports CNI {one.span}, not {network.cni_version}"
    wrong = [] if single else list(schemas.unknown_of_list(network.extra))
    for number in range(len(network.plugins)):
        prefix = "" if single else f"plugins[{number}]."
        wrong += [(prefix + key, problem) for key, problem in _wrong(network, number, host)]
    for key, problem in wrong:
        yield f"{_place(path, where, key)}: {problem}"


def _wrong(network: NetworkList, number: int, host: HostLinks | None) -> Iterator[Problem]:
    """What is wrong with one plugin: unknown keys, their values, what the host lacks; each key once."""
    plugin = network.plugins[number]
    reported: set[str] = set()
    for key, problem in (
        *schemas.unknown(plugin.type, plugin.raw),
        *meaning.problems(network, number),
        *(host.problems(plugin.type, plugin.raw) if host else ()),
        *_unknown_capabilities(plugin),
    ):
        if key not in reported:
            reported.add(key)
            yield key, problem


def _unknown_capabilities(plugin: PluginConf) -> Iterator[Problem]:
    for capability in sorted(plugin.capabilities - set(CAPABILITIES)):
        if hint := nearest(capability, CAPABILITIES):  # an unknown one may be a plugin's own
            yield f"capabilities.{capability}", f"unknown capability {capability}{hint}"


def _type_of(network: NetworkList, kind: str, single: bool) -> str:
    """The path of the key that names a plugin or IPAM plugin of type `kind`."""
    for number, plugin in enumerate(network.plugins):
        prefix = "" if single else f"plugins[{number}]."
        if plugin.type == kind:
            return f"{prefix}type"
        ipam = strict_json.lookup(plugin.raw, "ipam")
        if isinstance(ipam, dict) and strict_json.lookup(ipam, "type") == kind:
            return f"{prefix}ipam.type"
    return "plugins"


def _place(path: Path, where: Mapping[str, tuple[int, int]], key: str) -> str:
    """FILE:LINE:COLUMN: KEY, without line and column for a key that is missing or stands in another file."""
    found = where.get(key.lower())
    return f"{path}:{found[0]}:{found[1]}: {places.short(key)}" if found else f"{path}: {key}"


def _host() -> HostLinks | None:
    """What the host has; None where it cannot be read."""
    try:
        return HostLinks()
    except OSError:
        return None


def _line(path: Path, network: NetworkList, plugins: Sequence[PluginVersions]) -> str:
    spoken = ", ".join(f"{one.type} ({one.span}, {one.path})" for one in plugins)
    capabilities = ", ".join(sorted(network.capabilities)) or "none"
    return f"{path}: network {network.name}, CNI {network.cni_version}, plugins {spoken}, capabilities {capabilities}"


def _shown(path: Path, network: NetworkList, plugins: Sequence[PluginVersions]) -> dict[str, object]:
    return {
        "file": str(path),
        "name": network.name,
        "cniVersion": network.cni_version,
        "plugins": {one.type: {"path": one.path, "versions": list(one.versions)} for one in plugins},
        "capabilities": sorted(network.capabilities),
    }
