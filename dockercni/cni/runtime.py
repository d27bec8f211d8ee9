"""The CNI runtime: what libcni does, for one attachment at a time.

Differences from libcni, all on the safe side: every plugin is found before the first one runs; a failed chain is taken
back at once; the cache is written ahead; DEL runs every step, whatever fails; a result is handed on as it was printed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from dockercni.cni import conf, document, names, result, versions
from dockercni.cni.cache import Cache, CacheEntry
from dockercni.cni.calls import PluginCall, PluginRunner
from dockercni.cni.conf import NetworkList, PluginConf
from dockercni.cni.errors import CacheError, ChainError, CNIError, PluginError, ResultError, VersionError
from dockercni.cni.result import Result
from dockercni.cni.versions import Feature


@dataclass(frozen=True, slots=True)
class RuntimeConf:
    """What the runtime knows of one attachment: libcni's RuntimeConf.

    `args` become CNI_ARGS, `capability_args` (portMappings, ips, ...) the runtimeConfig of the plugins that declare
    them. `owner` is recorded in the cache for the caller. `inherit` are descriptors that the plugins keep open.
    """

    container_id: str
    netns: str
    ifname: str
    args: tuple[tuple[str, str], ...] = ()
    capability_args: Mapping[str, Any] = field(default_factory=dict)
    owner: Mapping[str, str] = field(default_factory=dict)
    inherit: Sequence[int] = ()


class Runtime:
    """Runs the verbs of CNI over the plugins of a network.

    Thread-safe for different containers. The caller serialises the operations on one container, and keeps GC apart
    from all others, as the specification demands (section 3, "Lifecycle & Ordering").
    """

    def __init__(self, runner: PluginRunner, cache: Cache) -> None:
        self._runner = runner
        self._cache = cache

    def add(self, network: NetworkList, attachment: RuntimeConf) -> Result:
        """ADD the container to the network and return the last plugin's result.

        Raises CNIError: before anything ran (PluginNotFound, InvalidParameters, CacheError), or a PluginError or
        ResultError after the chain was taken back. What could not be taken back stays recorded, and is in the error's
        notes.
        """
        served = tuple(self._runner.choose(network, plugin) for plugin in network.plugins)
        names.validate_container_id(attachment.container_id)
        names.validate_network_name(network.name)
        names.validate_ifname(attachment.ifname)
        entry = CacheEntry(
            network=network.name,
            container_id=attachment.container_id,
            ifname=attachment.ifname,
            netns=attachment.netns,
            config=network.raw,
            args=attachment.args,
            capability_args=attachment.capability_args,
            served=served,
            owner=attachment.owner,
        )
        self._cache.write(entry, new=True)
        try:
            for plugin, engine in zip(network.plugins, served, strict=True):
                printed = self._run("ADD", network, plugin, engine, entry, attachment.inherit, entry.result)
                try:
                    last = result.parse(printed, network.cni_version)
                except ResultError as error:
                    raise PluginError(
                        plugin.type, "ADD", f"printed no valid result: {error}", code=error.code
                    ) from error
                entry = replace(entry, result=last.raw, done=entry.done + 1)
                self._cache.write(entry)
        except CNIError as failure:
            try:
                self.delete_recorded(entry, attachment.inherit)
            except CNIError as leftover:
                failure.add_note(f"taking it back failed too: {leftover}")
            raise
        return last

    def delete(self, network: NetworkList, attachment: RuntimeConf) -> None:
        """DEL as libcni does it: with the given configuration, and the recorded result if there is one.

        Raises ChainError with all that failed; the record then stays.
        """
        try:
            recorded = self._cache.read(network.name, attachment.container_id, attachment.ifname)
        except CacheError:  # libcni: a broken record does not stop a DEL, it goes with it
            recorded = None
        entry = CacheEntry(
            network=network.name,
            container_id=attachment.container_id,
            ifname=attachment.ifname,
            netns=attachment.netns,
            config=network.raw,
            args=attachment.args,
            capability_args=attachment.capability_args,
            result=recorded.result if recorded else None,
            served=recorded.served if recorded else (),
        )
        self._delete(network, entry, attachment.inherit)

    def delete_recorded(self, entry: CacheEntry, inherit: Sequence[int] = ()) -> None:
        """DEL with what ADD recorded: configuration, arguments, result so far, engines; never today's files.

        `entry.netns` is empty, or a path, if the namespace still exists. Raises ChainError with all that failed; the
        record then stays.
        """
        self._delete(conf.parse_list(entry.config), entry, inherit)

    def check(self, entry: CacheEntry, inherit: Sequence[int] = ()) -> None:
        """CHECK a recorded attachment. Raises VersionError below 0.4.0, PluginError at the first that complains."""
        network = conf.parse_list(entry.config)
        if not versions.supports(network.cni_version, Feature.CHECK):
            raise VersionError(f'network "{network.name}" is of version {network.cni_version}, which has no CHECK')
        if network.disable_check:
            return
        previous = _as_version(entry, network.cni_version)
        for position, plugin in enumerate(network.plugins):
            self._run("CHECK", network, plugin, self._engine(entry, network, position), entry, inherit, previous)

    def gc(self, network: NetworkList, valid: Iterable[tuple[str, str]]) -> None:
        """DEL what is recorded for `network` and not among the `valid` (container id, ifname), then send GC.

        Raises ChainError with all that failed.
        """
        if network.disable_gc:
            return
        keep = set(valid)
        steps: list[Callable[[], None]] = []
        for entry in self._cache.entries():
            if isinstance(entry, CacheError) or entry.network != network.name:
                continue
            if (entry.container_id, entry.ifname) not in keep:
                steps.append(partial(self._delete, network, entry, ()))
        if versions.supports(network.cni_version, Feature.GC):
            listed = [{"containerID": container_id, "ifname": ifname} for container_id, ifname in sorted(keep)]
            extra = {"cni.dev/valid-attachments": listed, "cni.dev/attachments": listed}
            steps.extend(partial(self._network_verb, "GC", network, plugin, extra) for plugin in network.plugins)
        failures: list[CNIError] = []
        for step in steps:
            try:
                step()
            except CNIError as error:
                failures.append(error)
        if failures:
            raise ChainError("GC", network.name, failures)

    def status(self, network: NetworkList) -> None:
        """STATUS of the plugins of `network`. Raises PluginError from the first that cannot serve an ADD."""
        if not versions.supports(network.cni_version, Feature.STATUS):
            return
        for plugin in network.plugins:
            self._network_verb("STATUS", network, plugin, {})

    def _delete(self, network: NetworkList, entry: CacheEntry, inherit: Sequence[int]) -> None:
        previous = None
        if versions.supports(network.cni_version, Feature.PREV_RESULT_ON_DEL):
            try:
                previous = _as_version(entry, network.cni_version)
            except ResultError:  # libcni: go on without it
                previous = None
        failures: list[CNIError] = []
        for position, plugin in reversed(list(enumerate(network.plugins))):
            try:
                self._run("DEL", network, plugin, self._engine(entry, network, position), entry, inherit, previous)
            except CNIError as error:
                failures.append(error)
        if failures:
            raise ChainError("DEL", network.name, failures)
        self._cache.remove(entry)

    def _engine(self, entry: CacheEntry, network: NetworkList, position: int) -> str:
        """Who served the plugin at ADD; for an attachment of another runtime, who would serve it now."""
        return (
            entry.served[position]
            if position < len(entry.served)
            else self._runner.choose(network, network.plugins[position])
        )

    def _network_verb(self, verb: str, network: NetworkList, plugin: PluginConf, extra: Mapping[str, Any]) -> None:
        request = {**plugin.raw, "name": network.name, "cniVersion": network.cni_version, **extra}
        environment = {"CNI_COMMAND": verb, "CNI_PATH": self._runner.path}
        call = PluginCall(
            plugin.type, verb, document.encode(request), environment, self._runner.choose(network, plugin)
        )
        self._runner.run(call)

    def _run(
        self,
        verb: str,
        network: NetworkList,
        plugin: PluginConf,
        engine: str,
        entry: CacheEntry,
        inherit: Sequence[int],
        previous: Mapping[str, Any] | None,
    ) -> bytes:
        config = document.encode(_request(network, plugin, entry.capability_args, previous))
        environment = {
            "CNI_COMMAND": verb,
            "CNI_CONTAINERID": entry.container_id,
            "CNI_NETNS": entry.netns,
            "CNI_IFNAME": entry.ifname,
            "CNI_ARGS": ";".join(f"{key}={value}" for key, value in entry.args),
            "CNI_PATH": self._runner.path,
        }
        return self._runner.run(PluginCall(plugin.type, verb, config, environment, engine, inherit))


def _request(
    network: NetworkList,
    plugin: PluginConf,
    capability_args: Mapping[str, Any],
    previous: Mapping[str, Any] | None,
) -> dict[str, Any]:
    """What stands on a plugin's stdin (specification, section 4, "Deriving runtimeConfig" and around it)."""
    request = {**plugin.raw, "name": network.name, "cniVersion": network.cni_version}
    wanted = {key: value for key, value in capability_args.items() if key in plugin.capabilities}
    if wanted:
        request["runtimeConfig"] = wanted
    if previous is not None:
        request["prevResult"] = previous
    return request


def _as_version(entry: CacheEntry, version: str) -> Mapping[str, Any] | None:
    if entry.result is None:
        return None
    recorded = result.parse(entry.result, version)
    return recorded.raw if recorded.cni_version == version else result.convert(recorded, version).to_dict()
