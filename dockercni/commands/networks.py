"""`dockercni networks`: list the network configurations, broken ones included."""

from dockercni import render
from dockercni.commands.table import Request
from dockercni.daemon import wire
from dockercni.errors import DockercniError
from dockercni.observe import logs

FAILED = 1


def run(request: Request) -> int:
    """List them, the default one marked; ends with 1 if a file is broken.

    JSON keys: networks [{name, default, cniVersion, plugins, capabilities, file}], broken [message].
    """
    logs.configure("warning", "auto")
    catalogue = wire(request.settings).networks.catalogue()
    try:
        default = catalogue.get("").name
    except DockercniError as error:
        default = ""
        render.error(str(error))
    broken = [str(error) for error in catalogue.directory.broken]
    if request.output == "json":
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
    else:
        render.table(
            ("NETWORK", "DEFAULT", "CNI", "PLUGINS", "FILE"),
            [
                (
                    network.name,
                    "yes" if network.name == default else "",
                    network.cni_version,
                    ",".join(plugin.type for plugin in network.plugins),
                    str(network.source or "(built in)"),
                )
                for network in catalogue.networks
            ],
        )
        for problem in broken:
            render.error(problem)
    return FAILED if broken or not default else 0
