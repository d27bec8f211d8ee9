"""`dockercni del CONTAINER|ID`: detach a container or namespace from networks that dockercni attached it to."""

from dockercni import logs, render
from dockercni.commands.containers import recorded
from dockercni.commands.table import Invocation
from dockercni.errors import UnknownContainer
from dockercni.reconcile import ad_hoc
from dockercni.wiring import wire


def run(invocation: Invocation) -> int:
    """Remove all recorded attachments, or those that --network and --ifname choose; print one line for each."""
    logs.configure("warning", "auto")
    app = wire(invocation.settings)
    args = invocation.args
    container_id = args.container
    if not recorded(app, container_id):  # then it is a name, or the beginning of an id
        container = app.client.container(container_id)
        if container is None:
            raise UnknownContainer(f'there is no container "{container_id}", and nothing is recorded under that id')
        container_id = container.id
    chosen = (args.network or "", args.ifname or "")
    for record in ad_hoc.delete(app.sandboxes, app.attacher, container_id, *chosen):
        render.line(f"DEL {args.container} {record.attachment.network} {record.attachment.ifname}")
    return 0
