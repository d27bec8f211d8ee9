"""`dockercni networks validate FILE...`: configurations checked before they are used; needs no root, no engine."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from dockercni import render
from dockercni.cni import CNIError, NetworkList, load_file
from dockercni.commands import abilities
from dockercni.commands.abilities import Ability
from dockercni.settings import nearest

if TYPE_CHECKING:
    from dockercni.commands.table import Request

FAILED: Final = 1
CAPABILITIES: Final = (  # those that the specification knows, and those of well-known plugins
    "aliases", "bandwidth", "cgroupPath", "deviceID", "dns", "infinibandGUID", "ipRanges", "ips", "mac", "portMappings"
)  # fmt: skip


def run(request: Request) -> int:
    """Print a line for each network, and one for each problem; JSON keys: networks [{...}], problems [text]."""
    known = abilities.Abilities(request.settings)
    owners: dict[str, Path] = {}
    good, problems = [], []
    for name in request.args.files:
        path = Path(name)
        try:
            network = load_file(path)
        except CNIError as error:
            problems.append(str(error))
            continue
        plugins = known.of(network)
        wrong = list(_problems(path, network, plugins, owners))
        problems.extend(wrong)
        if not wrong:
            good.append((path, network, plugins))
    if request.output == "json":
        render.json({"networks": [_shown(*one) for one in good], "problems": problems})
    else:
        for one in good:
            render.line(_line(*one))
        for problem in problems:
            render.line(problem)
    return FAILED if problems else 0


def _problems(path: Path, network: NetworkList, plugins: Sequence[Ability], owners: dict[str, Path]) -> Iterator[str]:
    owner = owners.setdefault(network.name, path)
    if owner != path:
        yield f'{_place(path, "name", network.name)}: network "{network.name}" is already defined by {owner}'
    for ability in plugins:
        if ability.problem:
            yield f"{_place(path, 'type', ability.type)}: {ability.problem}"
        elif network.cni_version not in ability.versions:
            place, spoken = _place(path, "cniVersion", network.cni_version), abilities.span(ability.versions)
            who = f"plugin {ability.type} ({ability.path})"
            yield f"{place}: {who} supports CNI {spoken}, not {network.cni_version}"
    for capability in sorted(network.capabilities - set(CAPABILITIES)):
        if hint := nearest(capability, CAPABILITIES):  # one that is like no other may be a plugin's own
            yield f"{_place(path, capability, None)}: nobody gives the capability {capability}{hint}"


def _place(path: Path, key: str, value: str | None) -> str:
    """FILE:LINE:COLUMN: KEY of the first place that says so."""
    text = path.read_text(encoding="utf-8", errors="replace")
    wanted = rf'"{re.escape(key)}"\s*:\s*' + (rf'"{re.escape(value)}"' if value is not None else "")
    found = re.search(wanted, text)
    if not found:
        return f"{path}: {key}"
    start = found.start()
    return f"{path}:{text.count(chr(10), 0, start) + 1}:{start - text.rfind(chr(10), 0, start)}: {key}"


def _line(path: Path, network: NetworkList, plugins: Sequence[Ability]) -> str:
    spoken = ", ".join(f"{one.type} ({abilities.span(one.versions)}, {one.path})" for one in plugins)
    capabilities = ", ".join(sorted(network.capabilities)) or "none"
    return f"{path}: network {network.name}, CNI {network.cni_version}, plugins {spoken}, capabilities {capabilities}"


def _shown(path: Path, network: NetworkList, plugins: Sequence[Ability]) -> dict[str, object]:
    return {
        "file": str(path),
        "name": network.name,
        "cniVersion": network.cni_version,
        "plugins": {one.type: {"path": one.path, "versions": list(one.versions)} for one in plugins},
        "capabilities": sorted(network.capabilities),
    }
