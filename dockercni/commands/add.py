"""`dockercni add CONTAINER` and `dockercni add ID NETNS`: attach one container or namespace to one network."""

import time
from pathlib import Path

from dockercni import logs, render
from dockercni.cni import Result
from dockercni.commands.table import Invocation
from dockercni.errors import UnknownContainer
from dockercni.model import NetworkRequest
from dockercni.reconcile import ad_hoc
from dockercni.wiring import wire


def run(invocation: Invocation) -> int:
    """Attach, and print interface, addresses and time; with -o json the CNI result."""
    logs.configure("warning", "auto")
    app = wire(invocation.settings)
    args = invocation.args
    wanted = NetworkRequest(args.network or "", args.ifname or "", args=tuple(args.arg))
    began = time.monotonic()
    if args.netns:
        result = ad_hoc.add_to_path(app.sandboxes, app.attacher, args.container, Path(args.netns), wanted)
    else:
        engine = app.client.engine()
        app.networks.learn(engine.mtu)
        container = app.client.container(args.container)
        if container is None:
            raise UnknownContainer(f'there is no container "{args.container}"; to attach a namespace, add its path')
        result = ad_hoc.add_to_container(app.sandboxes, app.attacher, container, engine.mark, wanted)
    if invocation.output == "json":
        render.json(dict(result.raw))
    else:
        render.line(f"ADD {args.container} {_summary(result)} {(time.monotonic() - began) * 1000:.1f} ms")
    return 0


def _summary(result: Result) -> str:
    inside = [link.name for link in result.interfaces if link.sandbox]
    return " ".join([*inside, *(str(ip.address) for ip in result.ips)])
