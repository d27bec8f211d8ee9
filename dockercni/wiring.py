"""The composition root: what is connected to what."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Final

import structlog

from dockercni.cni import Cache, ExecRunner, Runtime
from dockercni.docker.client import Client, Engine
from dockercni.errors import DockercniError, NotRoot
from dockercni.linux.iptables import IptablesError
from dockercni.plugins.dispatch import Dispatch
from dockercni.reconcile import images, records, state
from dockercni.reconcile.attach import Attacher
from dockercni.reconcile.dhcp_leases import DHCPLeases
from dockercni.reconcile.failure import Failure
from dockercni.reconcile.firewall_rules import FirewallRules
from dockercni.reconcile.forwarding import Forwarding
from dockercni.reconcile.history import History
from dockercni.reconcile.host_half import HostHalf
from dockercni.reconcile.locks import Locks
from dockercni.reconcile.networks import Networks
from dockercni.reconcile.observation import Observation
from dockercni.reconcile.reconciler import AttachPolicy, Reconciler
from dockercni.reconcile.sandbox import Sandboxes
from dockercni.settings import Settings

FIRST_START: Final = "first-start.json"
# Of the hold: an ADD that a DHCP server does not answer has to be rolled back before the hold ends.
_PATIENCE: Final = 0.8
_LEAST_PATIENCE: Final = 5.0  # seconds: a server that looks for duplicates first (dnsmasq) takes 3

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class App:
    """Everything that a command or the daemon needs, wired by the settings."""

    settings: Settings
    client: Client
    networks: Networks
    sandboxes: Sandboxes
    attacher: Attacher
    history: History

    @property
    def observation(self) -> Observation:
        """What observes containers."""
        return Observation(self.sandboxes, self.attacher.rules, self.attacher.host, self.attacher.leases)

    def reconciler(self, engine: Engine, policy: AttachPolicy) -> Reconciler:
        """A reconciler for the containers of that engine; the built-in network takes over the engine's MTU."""
        self.networks.learn(engine.mtu)
        return Reconciler(self.client, engine.mark, self.sandboxes, self.attacher, self.history, policy, engine.host_ip)

    def settle_forwarding(self) -> None:
        """Let through FORWARD what is recorded, and nothing else. Raises ForwardingFailed."""
        try:
            self.attacher.forwarding.settle()
            if self.learn_networks():  # last, since the engine may answer slowly
                self.attacher.forwarding.settle()
        except IptablesError as error:
            raise ForwardingFailed.of(error) from error

    def forwarding_problems(self) -> list[str]:
        """What `settle_forwarding` would change, or why that is not known."""
        self.learn_networks()
        try:
            return self.attacher.forwarding.problems()
        except IptablesError as error:
            return [str(error)]

    def learn_networks(self) -> bool:
        """Take over which bridges are Docker's, for the isolation of networks; returns whether that changed.

        A proxy may refuse the list. Then bridges with Docker's names count.
        """
        try:
            listed = self.client.networks()
        except DockercniError as error:
            log.info("Docker's networks are not known", reason=str(error))
            return False
        return self.attacher.forwarding.learn(listed)

    def container_ids(self, engine_id: str) -> list[str]:
        """The ids to reconcile: of running containers with network mode none, of records, histories, pins and locks."""
        ids = {listed.Id: None for listed in self.client.running() if listed.HostConfig.NetworkMode == "none"}
        for record in records.records(self.attacher.cache, engine_id):
            ids[record.attachment.container_id] = None
        others = records.others(self.attacher.cache, engine_id)
        pins = [pin for pin in self.sandboxes.pins() if pin not in others]
        ids.update(dict.fromkeys([*self.history.known(), *pins, *self.attacher.locks.containers()]))
        return list(ids)


def wire(settings: Settings) -> App:
    """Connect the parts; nothing is opened or asked yet. Raises NotRoot."""
    if os.geteuid() != 0:
        raise NotRoot("network namespaces can only be changed by root; try sudo")
    known = images.kept(settings.state_dir)
    client = Client(settings.docker_host, trust_image_labels=settings.trust_image_labels, images=known)
    networks = Networks(settings.cni_conf_dir, settings.state_dir, settings.default_network)
    cache = Cache(settings.cni_cache_dir)
    locks = Locks(settings.run_dir, settings.plugin_timeout)
    executables = ExecRunner(settings.cni_bin_dir, settings.plugin_timeout)
    patience = max(settings.hold * _PATIENCE, _LEAST_PATIENCE) if settings.hold else None
    runtime = Runtime(
        Dispatch(executables, settings.backend, patience=patience, opens=False),
        cache,
    )
    history = History(settings.state_dir / "containers")
    forwarding = Forwarding(cache, history, isolate=settings.isolation == "on")
    rules, host, leases = FirewallRules(runtime), HostHalf(locks), DHCPLeases(runtime)
    attacher = Attacher(runtime, cache, networks, locks, forwarding, rules, host, leases, history)
    return App(settings, client, networks, Sandboxes(client, settings.netns_dir), attacher, history)


class ForwardingFailed(Failure):
    """The rules that let traffic through cannot be read or changed now."""


def policy(settings: Settings) -> AttachPolicy:
    """Which containers the daemon attaches. Raises TooNew."""
    spared = state.recall(settings.state_dir / FIRST_START, dict[str, str], {})
    return AttachPolicy(settings.attach, {} if settings.attach_running else spared)
