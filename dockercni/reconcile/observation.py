"""Observes namespace and host: what the plan compares with what is wanted and recorded."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

from dockercni.docker.start_watch import Start
from dockercni.linux import capabilities, runc_stages
from dockercni.linux.netns import Namespace
from dockercni.linux.netns_state import NetnsState
from dockercni.model import Attachment, Container, NetnsId
from dockercni.reconcile import container_half, host_local_leases
from dockercni.reconcile.dhcp_leases import DHCPLeases
from dockercni.reconcile.firewall_rules import FirewallRules
from dockercni.reconcile.host_half import HostHalf
from dockercni.reconcile.plan import Observed, Report, repairs
from dockercni.reconcile.records import Record
from dockercni.reconcile.sandbox import Sandboxes


@dataclass(frozen=True, slots=True)
class Observation:
    """Observes one container after the other; what they share on the host is read once for all."""

    sandboxes: Sandboxes
    rules: FirewallRules
    host: HostHalf
    leases: DHCPLeases

    def of(
        self,
        container_id: str,
        container: Container | None,
        namespace: Namespace | None,
        recorded: Sequence[Record],
        start: Start | None,
        *,
        thorough: bool,
    ) -> Observed:
        """What there is of one container; outside of it only with `thorough`.

        Raises OSError, RulesError, HostError.
        """
        sandboxes = self.sandboxes
        shown = NetnsState.read(namespace) if namespace else NetnsState()
        netns_id = sandboxes.netns_id(namespace, shown) if namespace else None
        elsewhere = {record.attachment.netns_id for record in recorded} - {netns_id}
        claimed = start is not None and bool(elsewhere)
        paths = {record.attachment.path for record in recorded} - {""}
        found = {path: there for path in paths if (there := sandboxes.netns_id_at(path))}
        alive = [
            record for record in recorded if record.attachment.complete and _lives(record.attachment, netns_id, found)
        ]
        observed = self.inside(shown, alive)
        if namespace and any(repairs([record.attachment for record in alive], observed)):
            # before its entrypoint runs, the container cannot have changed anything itself
            runs = start is None or runc_stages.executed(start.container.pid)
            observed = replace(observed, may_change=runs and capabilities.may_configure(namespace))
        entries = [record.entry for record in alive] if thorough else []
        return replace(
            observed,
            container=container,
            netns_id=netns_id,
            pinned=sandboxes.pinned(container_id, (namespace, netns_id) if namespace and netns_id else None),
            pin_exists=os.path.lexists(sandboxes.pin_path(container_id)),
            inhabited=(container is None or claimed) and sandboxes.inhabited(container_id, elsewhere, besides=netns_id),
            confirmed=start is None,
            paths=found,
            rules_missing=self.rules.missing(entries),
            host_missing=self.host.missing(entries),
            host_broken=self.host.broken(entries),
            lease_missing=self.leases.missing(entries),
            store_missing=host_local_leases.missing(entries),
        )

    def damage(self, record: Record, namespace: Namespace, shown: NetnsState) -> str:
        """What a live attachment lacks, in words; "" if nothing is, or if the container may have removed it itself.

        `shown` is the state of its namespace. Raises RulesError, HostError.
        """
        attachment, entry = record.attachment, record.entry
        observed = self.inside(shown, [record])
        if any(repairs([attachment], observed)):
            observed = replace(observed, may_change=capabilities.may_configure(namespace))
        observed = replace(
            observed,
            rules_missing=self.rules.missing([entry]),
            host_missing=self.host.missing([entry]),
            host_broken=self.host.broken([entry]),
            lease_missing=self.leases.missing([entry]),
            store_missing=host_local_leases.missing([entry]),
        )
        actions = repairs([attachment], observed)
        return "; ".join(action.reason for action in actions if not isinstance(action, Report) or action.drift)

    def inside(self, shown: NetnsState, recorded: Sequence[Record]) -> Observed:
        """What a namespace shows of the attachments recorded for it. Raises HostError."""
        present = ((each.attachment.ifname, self._name_now(each, shown)) for each in recorded)
        return Observed(
            links=frozenset(shown.links),
            up=frozenset(link.name for link in shown.links.values() if link.up),
            addresses=shown.addresses,
            routes=shown.routes,
            renamed={ifname: name for ifname, name in present if name != ifname},
        )

    def _name_now(self, record: Record, shown: NetnsState) -> str:
        return container_half.name_now(record.entry, shown.links, partial(self.host.port, record.entry))


def _lives(attachment: Attachment, netns_id: NetnsId | None, paths: Mapping[str, NetnsId]) -> bool:
    return attachment.netns_id == (paths.get(attachment.path) if attachment.path else netns_id)
