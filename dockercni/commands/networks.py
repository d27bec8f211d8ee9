"""`dockercni networks`: list the network configurations, broken ones included."""

from dockercni import logs, render
from dockercni.cni import NetworkList
from dockercni.commands.table import FAILED, Invocation
from dockercni.errors import DockercniError
from dockercni.wiring import wire

_HEADERS = ("NETWORK", "DEFAULT", "CNI", "PLUGINS", "FILE")
_WIDE = (*_HEADERS, "CAPABILITIES", "BRIDGES")


def run(invocation: Invocation) -> int:
    """List them, with a mark at the default one; exit code 1 if a file is broken or there is no default.

    JSON keys: networks [{name, default, cniVersion, plugins, capabilities, file}], broken [message].
    """
    logs.configure("critical", "auto")  # problems of the files are printed below
    catalogue = wire(invocation.settings).networks.catalogue()
    try:
        default = catalogue.get("").name
    except DockercniError as error:
        default = ""
        render.error(str(error))
    broken = [str(error) for error in catalogue.directory.broken]
    if invocation.output == "json":
        listed = [
            {
                "name": network.name,
                "default": network.name == default,
                "cniVersion": network.cni_version,
                "plugins": [plugin.type for plugin in network.plugins],
                "capabilities": sorted(network.capabilities),
                "file": str(network.source) if network.source else None,
            }
            for network in catalogue.networks
        ]
        render.json({"networks": listed, "broken": broken})
    elif invocation.output == "name":
        for network in catalogue.networks:
            render.line(network.name)
    else:
        rows = [(*_cells(network, default), *_more(network)) for network in catalogue.networks]
        width = len(_WIDE if invocation.output == "wide" else _HEADERS)
        render.table(_WIDE[:width], [row[:width] for row in rows])
    if invocation.output != "json":
        for problem in broken:
            render.error(problem)
    return FAILED if broken or not default else 0


def _cells(network: NetworkList, default: str) -> tuple[str, ...]:
    return (
        network.name,
        "yes" if network.name == default else "",
        network.cni_version,
        ",".join(plugin.type for plugin in network.plugins),
        str(network.source or "(built in)"),
    )


def _more(network: NetworkList) -> tuple[str, ...]:
    bridges = [plugin.raw.get("bridge", "cni0") for plugin in network.plugins if plugin.type == "bridge"]
    return ",".join(sorted(network.capabilities)), ",".join(map(str, bridges))
