"""The CNI runtime: what libcni does, for one attachment at a time.

Differences from libcni, all on the safe side: every plugin is found before the first one runs; a failed chain is taken
back at once; the cache is written ahead; DEL runs every step, whatever fails; a result keeps the keys that libcni does
not know. docs/cni-deviations.md lists all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Final

from dockercni.cni import request, result, versions
from dockercni.cni.cache import Cache
from dockercni.cni.cache_entry import CacheEntry
from dockercni.cni.conf import NetworkList, PluginConf
from dockercni.cni.errors import (
    CacheError,
    ChainError,
    CNIError,
    EntryTooNew,
    PluginError,
    ResultError,
    VersionError,
)
from dockercni.cni.request import RuntimeConf
from dockercni.cni.result import Result
from dockercni.cni.runner import EXEC, PluginCall, PluginRunner
from dockercni.cni.strict_json import DocumentError, Fields
from dockercni.cni.versions import Feature

__all__ = ["Runtime", "RuntimeConf", "supported_versions"]

_BEFORE_VERSION: Final = "unknown CNI_COMMAND: VERSION"
_UNUSED: Final = "dummy"  # plugins of before 0.2.0 ask for these variables first


class Runtime:
    """Runs the verbs of CNI over the plugins of a network.

    Thread-safe for different containers. The caller serialises the operations on one container, and keeps GC apart
    from all others, as the specification demands (section 3, "Lifecycle & Ordering").
    """

    def __init__(self, runner: PluginRunner, cache: Cache) -> None:
        self._runner = runner
        self._cache = cache

    def add(
        self, network: NetworkList, attachment: RuntimeConf, finish: Callable[[Result], Result] | None = None
    ) -> CacheEntry:
        """ADD the container to the network and return what was recorded, whose `attached` is the last plugin's result.

        `finish` is called once the last plugin has run, and returns the result to record. Only then is the attachment
        complete. A CNIError that it raises counts as a plugin's failure.

        Raises PluginNotFound, InvalidParameters or CacheError before any plugin ran, or PluginError or CacheError after
        the chain was taken back. If that failed too, the entry stays and the error's notes say why.
        """
        served = tuple(self._runner.choose(network, plugin) for plugin in network.plugins)
        request.validate(network.name, attachment)
        entry = CacheEntry(
            network=network.name,
            container_id=attachment.container_id,
            ifname=attachment.ifname,
            netns=attachment.netns,
            config=network.raw,
            args=attachment.args,
            capability_args=request.as_json(attachment.capability_args),
            served=served,
            owner=attachment.owner,
        )
        self._cache.write(entry, new=True)
        last: Result | None = None
        try:
            for plugin, backend in zip(network.plugins, served, strict=True):
                printed = self._run("ADD", network, plugin, backend, entry, attachment.inherit, last)
                try:
                    last = result.parse(printed, network.cni_version)
                except ResultError as error:
                    raise PluginError(
                        plugin.type, "ADD", f"printed no valid result: {error}", code=error.code
                    ) from error
                if finish and entry.done + 1 == len(served):
                    last = finish(last)
                entry = replace(entry, result=last.raw, done=entry.done + 1)
                vars(entry)["attached"] = last  # the cached property: nobody has to read it again
                self._cache.write(entry)
        except CNIError as failure:
            try:
                self.delete_recorded(entry, attachment.inherit)
            except CNIError as leftover:
                if entry.done == 0 and _same_words(failure, leftover):
                    # The first plugin can use its configuration neither for ADD nor for DEL, so it made nothing. If the
                    # entry stayed, it would block the corrected configuration for ever.
                    self._cache.remove(entry)
                else:
                    failure.add_note(f"taking it back failed too: {leftover}")
            raise
        return entry

    def delete(self, network: NetworkList, attachment: RuntimeConf) -> None:
        """DEL as libcni does it: with the given configuration, and the recorded result if there is one.

        A broken entry does not stop DEL, and is removed with it. Raises ChainError with all failures (the entry then
        stays), and EntryTooNew before any plugin ran.
        """
        try:
            recorded = self._cache.read(network.name, attachment.container_id, attachment.ifname)
        except EntryTooNew:
            raise
        except CacheError:
            recorded = None
        entry = CacheEntry(
            network=network.name,
            container_id=attachment.container_id,
            ifname=attachment.ifname,
            netns=attachment.netns,
            config=network.raw,
            args=attachment.args,
            capability_args=request.as_json(attachment.capability_args),
            result=recorded.result if recorded else None,
            served=_served(recorded, network) if recorded else (),
        )
        self._delete(network, entry, attachment.inherit)

    def delete_recorded(self, entry: CacheEntry, inherit: Sequence[int] = ()) -> None:
        """DEL with what ADD recorded (configuration, arguments, result so far, backends), never with today's files.

        `entry.netns` is the path of the namespace, or empty if it is gone. Use `delete` for an entry without `owner`:
        another runtime made it, and may not have recorded the whole list. Raises ConfigurationError before any plugin
        ran, and ChainError with all failures; the entry then stays.
        """
        self._delete(entry.network_list(), entry, inherit)

    def check(self, entry: CacheEntry, inherit: Sequence[int] = ()) -> None:
        """CHECK a recorded attachment; does nothing if its network disables CHECK.

        Raises VersionError below 0.4.0, CacheError if ADD did not finish, ResultError if its result cannot be expressed
        in the network's version, PluginError or PluginNotFound from the first plugin that complains.
        """
        network = entry.network_list()
        if not versions.supports(network.cni_version, Feature.CHECK):
            raise VersionError(f'network "{network.name}" is of version {network.cni_version}, which has no CHECK')
        if network.disable_check:
            return
        if not entry.complete:
            raise CacheError(f"{entry.file_name} records no result: ADD did not finish")
        previous = _as_version(entry, network.cni_version)
        for position, plugin in enumerate(network.plugins):
            self._run("CHECK", network, plugin, self._backend(entry, network, position), entry, inherit, previous)

    def validate(self, network: NetworkList) -> frozenset[str]:
        """Check that ADD can be tried; returns the capabilities that the plugins of `network` declare.

        Raises ChainError with every plugin that is missing, or does not support the network's version.
        """
        failures: list[CNIError] = []
        for plugin in network.plugins:
            try:
                supported = self.versions(network, plugin)
                if network.cni_version not in supported:
                    listed = ", ".join(supported)
                    problem = f'plugin "{plugin.type}" does not support version {network.cni_version}'
                    failures.append(VersionError(problem, f"it supports {listed}"))
            except CNIError as error:
                failures.append(error)
        if failures:
            raise ChainError("validation", network.name, failures)
        return network.capabilities

    def versions(self, network: NetworkList, plugin: PluginConf) -> tuple[str, ...]:
        """The versions of CNI that a plugin of `network` says it supports. Raises PluginError, PluginNotFound."""
        return supported_versions(self._runner, self._runner.choose(network, plugin), plugin.type)

    def repeat(self, entry: CacheEntry, position: int, inherit: Sequence[int] = ()) -> None:
        """Run the ADD of one plugin of a complete attachment again, with the final result before it.

        This brings back rules that were flushed, without touching link and lease. Use it only for plugins whose ADD can
        be repeated. The answer is ignored. Raises CNIError.
        """
        network = entry.network_list()
        previous = _as_version(entry, network.cni_version)
        backend = self._backend(entry, network, position)
        self._run("ADD", network, network.plugins[position], backend, entry, inherit, previous)

    def delegate(
        self, verb: str, entry: CacheEntry, position: int, delegate: str, inherit: Sequence[int] = ()
    ) -> Result:
        """Run a verb of the executable that the plugin at `position` delegates to, exactly as that plugin would.

        Raises CNIError.
        """
        network = entry.network_list()
        config = request.for_attachment(network, network.plugins[position], entry, None)
        environment = request.environment(verb, entry, self._runner.path)
        printed = self._runner.run(PluginCall(delegate, verb, config, environment, EXEC, inherit))
        return result.parse(printed, network.cni_version)

    def gc(self, network: NetworkList, valid: Iterable[tuple[str, str]]) -> None:
        """DEL every attachment to `network` that is not among the `valid` (container id, ifname), then send GC.

        That includes attachments of other runtimes in the same cache, which are deleted with `network` as it is given.
        Does nothing if the network disables GC. Raises ChainError with all failures.
        """
        if network.disable_gc:
            return
        keep = set(valid)
        steps: list[Callable[[], None]] = []
        for entry in self._cache.entries():
            if entry.network != network.name:
                continue
            if (entry.container_id, entry.ifname) not in keep:
                if entry.owner is None:
                    steps.append(partial(self._delete, network, entry, ()))
                else:
                    steps.append(partial(self.delete_recorded, entry))
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
        """STATUS of the plugins of `network`; nothing runs below 1.1.0.

        Raises PluginError or PluginNotFound from the first that cannot serve an ADD.
        """
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
                self._run("DEL", network, plugin, self._backend(entry, network, position), entry, inherit, previous)
            except CNIError as error:
                failures.append(error)
        if failures:
            raise ChainError("DEL", network.name, failures)
        self._cache.remove(entry)

    def _backend(self, entry: CacheEntry, network: NetworkList, position: int) -> str:
        """What served the plugin at ADD; for an attachment of another runtime, what would serve it now."""
        return (
            entry.served[position]
            if position < len(entry.served)
            else self._runner.choose(network, network.plugins[position])
        )

    def _network_verb(self, verb: str, network: NetworkList, plugin: PluginConf, extra: Mapping[str, Any]) -> None:
        config = request.for_network(network, plugin, extra)
        environment = {"CNI_COMMAND": verb, "CNI_PATH": self._runner.path}
        self._runner.run(PluginCall(plugin.type, verb, config, environment, self._runner.choose(network, plugin)))

    def _run(
        self,
        verb: str,
        network: NetworkList,
        plugin: PluginConf,
        backend: str,
        entry: CacheEntry,
        inherit: Sequence[int],
        previous: Result | None,
    ) -> Any:
        config = request.for_attachment(network, plugin, entry, previous)
        environment = request.environment(verb, entry, self._runner.path)
        call = PluginCall(plugin.type, verb, config, environment, backend, inherit, previous=previous)
        return self._runner.run(call)


def _served(recorded: CacheEntry, network: NetworkList) -> tuple[str, ...]:
    """The recorded backends, if the entry lists the same plugins as `network`, which may have changed since."""
    try:
        then = recorded.network_list()
    except CNIError:
        return ()
    same = [plugin.type for plugin in then.plugins] == [plugin.type for plugin in network.plugins]
    return recorded.served if same else ()


def _as_version(entry: CacheEntry, version: str) -> Result | None:
    if entry.result is None:
        return None
    recorded = result.parse(entry.result, version)
    return recorded if recorded.cni_version == version else _plain(result.convert(recorded, version))


def _plain(converted: Result) -> Result:
    """The result without keys that libcni does not know, because libcni drops them when it converts."""
    return replace(converted, raw={})


def _same_words(failure: CNIError, leftover: CNIError) -> bool:
    """Whether only the plugin that had failed in ADD failed in the roll-back as well, for the same reason."""
    match failure, leftover:
        case PluginError(), ChainError(failures=(PluginError() as again,)):
            return (failure.plugin, failure.msg, failure.code) == (again.plugin, again.msg, again.code)
    return False


def supported_versions(runner: PluginRunner, backend: str, plugin: str) -> tuple[str, ...]:
    """The versions that `plugin` names, in its order. Raises PluginError, PluginNotFound."""
    environment = {
        "CNI_COMMAND": "VERSION",
        "CNI_CONTAINERID": _UNUSED,
        "CNI_NETNS": _UNUSED,
        "CNI_IFNAME": _UNUSED,
        "CNI_PATH": runner.path,
    }
    try:
        printed = runner.run(PluginCall(plugin, "VERSION", {"cniVersion": versions.CURRENT}, environment, backend))
    except PluginError as error:
        if error.msg == _BEFORE_VERSION:
            return (versions.OLDEST,)
        raise
    try:
        fields = Fields.of(printed)
        spoken = fields.string("cniVersion")
        supported = fields.strings("supportedVersions")
        if not spoken:
            fields.fail("cniVersion", "missing")
        if not supported and spoken != "0.2.0":  # in which plugins need not list them
            fields.fail("supportedVersions", "missing")
    except DocumentError as error:
        message = f"printed no valid list of versions: {error}"
        raise PluginError(plugin, "VERSION", message, code=error.code) from error
    return supported or ("0.1.0", "0.2.0")
