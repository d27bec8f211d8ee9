"""What was attached and changed by others: Docker 20.10 switches IPv6 off while a container starts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from ipaddress import IPv6Interface

import structlog

from dockercni.cni import CNIError, Result
from dockercni.kernel import ipv6
from dockercni.kernel.namespaces import Namespace
from dockercni.reconcile.records import Record

log = structlog.get_logger()


def mend(namespace: Namespace, recorded: Iterable[Record]) -> None:
    """Put IPv6 addresses and routes back that the attachments were given, and that are gone. Raises OSError."""
    given = [(record, result, list(_addresses(record, result))) for record, result in _results(recorded)]
    if not any(addresses for *_, addresses in given):
        return
    present = ipv6.addresses(namespace)
    for record, result, addresses in given:
        ifname = record.attachment.ifname
        missing = [address for address in addresses if (ifname, address.ip) not in present]
        if missing:
            gateways = {ip.gateway for ip in result.ips if ip.gateway and ip.gateway.version == 6}
            fallback = min(gateways, default=None)
            routes = [(route.dst, route.gw or fallback) for route in result.routes if route.dst.version == 6]
            ipv6.restore(namespace, ifname, addresses, routes)  # type: ignore[arg-type]  # all of version 6
            log.info(
                "IPv6 put back", id=record.attachment.container_id, ifname=ifname, addresses=list(map(str, missing))
            )


def _results(recorded: Iterable[Record]) -> Iterator[tuple[Record, Result]]:
    for record in recorded:
        if record.attachment.complete and record.entry.result is not None:
            try:
                yield record, record.entry.attached
            except CNIError:
                continue  # reported where it matters


def _addresses(record: Record, result: Result) -> Iterator[IPv6Interface]:
    for address in result.addresses_of(record.attachment.ifname):
        if isinstance(address, IPv6Interface):
            yield address
