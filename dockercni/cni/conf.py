"""Network configurations: the files of /etc/cni/net.d, read as libcni reads them, with errors that say where.

Deviations from libcni, all on the side of saying more: a broken file does not hide the others of its directory, two
files with one network name are an error, names and cniVersion are checked when the file is read.
"""

from __future__ import annotations

import os
import stat
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dockercni.cni import trust, versions
from dockercni.cni.errors import ConfigurationError, InvalidParameters, VersionError
from dockercni.cni.names import validate_network_name
from dockercni.cni.strict_json import DocumentError, Fields, decode, encode, locate, repeated, shown

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

MAX_BYTES = 1 << 20  # a configuration has a few hundred bytes; a much larger file is a mistake
_LIST = ".conflist"
_SINGLE = (".conf", ".json")


@dataclass(frozen=True, slots=True)
class PluginConf:
    """One plugin of a network: its type, the capabilities marked true, and the object exactly as written."""

    type: str
    capabilities: frozenset[str]
    raw: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class NetworkList:
    """A network: one or more plugins in order.

    `cni_version` is the one to speak. `raw` parses to the same network without any directory; `extra` is the
    top-level object that it holds. `source` is the file, if there is one.
    """

    name: str
    cni_version: str
    plugins: tuple[PluginConf, ...]
    disable_check: bool
    disable_gc: bool
    raw: bytes
    source: Path | None
    extra: Mapping[str, Any]

    @property
    def capabilities(self) -> frozenset[str]:
        """What at least one of the plugins declares."""
        return frozenset[str]().union(*(plugin.capabilities for plugin in self.plugins))


@dataclass(frozen=True, slots=True)
class Directory:
    """What a configuration directory holds: for each file a network or what is wrong with it, in libcni's order."""

    files: tuple[tuple[Path, NetworkList | ConfigurationError], ...]

    @property
    def networks(self) -> tuple[NetworkList, ...]:
        """The usable networks, in the order in which libcni looks at them."""
        return tuple(found for _, found in self.files if isinstance(found, NetworkList))

    @property
    def broken(self) -> tuple[ConfigurationError, ...]:
        """What is wrong with the other files."""
        return tuple(found for _, found in self.files if isinstance(found, ConfigurationError))

    def first(self) -> NetworkList | ConfigurationError | None:
        """Return what the first file by name holds, even if broken: the default must not become another one."""
        return min(self.files, key=lambda entry: os.fsencode(entry[0].name), default=(None, None))[1]


@lru_cache(maxsize=64)  # all records of a network hold the same list, and each reconciliation reads it several times
def parse_list(data: bytes, source: Path | None = None) -> NetworkList:
    """Read a .conflist from its bytes alone. Raises ConfigurationError."""
    network = _parse(data, source)
    if not network.plugins:
        raise ConfigurationError("no plugins", source=source, key="plugins")
    return network


def parse_plugin(data: bytes, source: Path | None = None) -> NetworkList:
    """Read a .conf or .json, which is one plugin with a name, as a list of one. Raises ConfigurationError."""
    with _errors_of(data, source):
        fields = Fields.of(decode(data))
        if not fields.string("type") and "plugins" in fields.values:
            fields.fail("type", f"missing (a list of plugins belongs into a {_LIST} file)")
        plugin = _plugin(fields)
        name, version = _name(fields), _known(fields, fields.string("cniVersion"))
    return parse_list(encode({"name": name, "cniVersion": version, "plugins": [plugin.raw]}), source)


def load_file(path: Path) -> NetworkList:
    """Read one file, and for a .conflist the plugins in `<directory>/<network name>/*.conf`.

    Raises ConfigurationError, also where the file cannot be read. Where plugins were found there, `raw` holds them too.
    """
    data = _read(path)
    network = _load(path, data)
    if twice := repeated(data, "sysctl"):  # it is unknown which of the two is meant
        raise ConfigurationError(f"{shown(twice)} is there twice", source=path, key="sysctl")
    return network


def _load(path: Path, data: bytes) -> NetworkList:
    if path.name.endswith(_SINGLE):
        return parse_plugin(data, path)
    if not path.name.endswith(_LIST):
        raise ConfigurationError(f"not a {_LIST}, .conf or .json file", source=path)
    network = _parse(data, path)
    more = () if _only_inlined(network) else tuple(_plugins_in(path.parent / network.name))
    if not more:
        return parse_list(data, path)
    plugins = [plugin.raw for plugin in (*network.plugins, *more)]
    return parse_list(encode({**network.extra, "plugins": plugins, "loadOnlyInlinedPlugins": True}), path)


def load_directory(path: Path) -> Directory:
    """Read all files of a directory; one that is missing is empty. Never raises: see Directory.broken.

    A file that others than root can change counts as broken, because a configuration makes programs run as root.
    """
    try:
        _refuse(path)
        lists, singles = _files(path, (_LIST,)), _files(path, _SINGLE)
    except ConfigurationError as error:
        return Directory(((path, error),))
    files: list[tuple[Path, NetworkList | ConfigurationError]] = []
    owners: dict[str, Path] = {}
    for file in (*lists, *singles):
        try:
            _refuse(file)
            network = load_file(file)
            for place in (path / network.name, *_files(path / network.name, _SINGLE[:1])):
                _refuse(place)
            owner = owners.setdefault(network.name, file)
            if owner != file:
                problem = f"network {shown(network.name)} is already defined by {owner}"
                raise ConfigurationError(problem, source=file, key="name")  # noqa: TRY301 - it is one more broken file
        except ConfigurationError as error:
            files.append((file, error))
        else:
            files.append((file, network))
    return Directory(tuple(files))


@contextmanager
def _errors_of(data: bytes, source: Path | None) -> Iterator[None]:
    try:
        yield
    except DocumentError as error:
        position = locate(data, error.key) if error.present else error.position
        raise ConfigurationError(
            error.problem, source=source, position=position, key=error.key, code=error.code
        ) from None


def _parse(data: bytes, source: Path | None) -> NetworkList:
    with _errors_of(data, source):
        # libcni matches the keys of a list exactly, and only those of its plugins in any case
        fields = Fields.of(decode(data), any_case=False)
        network = NetworkList(
            name=_name(fields),
            cni_version=_version(fields),
            plugins=_plugins(fields),
            disable_check=_flag(fields, "disableCheck"),
            disable_gc=_flag(fields, "disableGC"),
            raw=data,
            source=source,
            extra=fields.values,
        )
        _flag(fields, "loadOnlyInlinedPlugins")
    return network


def _only_inlined(network: NetworkList) -> bool:
    return _flag(Fields(network.extra, any_case=False), "loadOnlyInlinedPlugins")


def _name(fields: Fields) -> str:
    name = fields.string("name")
    try:
        validate_network_name(name)
    except InvalidParameters as error:
        fields.fail("name", str(error))
    return name


def _known(fields: Fields, version: str) -> str:
    version = version or versions.OLDEST
    if version not in versions.KNOWN:
        known = f"{versions.OLDEST} to {versions.CURRENT}"
        fields.fail("cniVersion", f"{shown(version)} is not a version of CNI that is known here ({known})")
    return version


def _version(fields: Fields) -> str:
    version = fields.string("cniVersion")
    offered = fields.strings("cniVersions")
    if not offered:
        return _known(fields, version)
    keys = (*(f"cniVersions[{index}]" for index in range(len(offered))), "cniVersion")
    for key, candidate in zip(keys, (*offered, version), strict=True):
        try:
            versions.parse(candidate)
        except VersionError as error:
            fields.fail(key, str(error))
    known = [candidate for candidate in (*offered, version) if candidate in versions.KNOWN]
    if not known:
        fields.fail("cniVersions", f"none of {shown(offered)} is known here (up to {versions.CURRENT})")
    return max(known, key=versions.parse)


def _flag(fields: Fields, key: str) -> bool:
    value = fields.get(key)
    if value is None:
        return False
    flag = {"true": True, "false": False}.get(value.lower()) if isinstance(value, str) else value
    if not isinstance(flag, bool):
        fields.fail(key, f"must be true or false, not {shown(value)}")
    return flag


def _plugins(fields: Fields) -> tuple[PluginConf, ...]:
    if fields.get("plugins") == []:
        fields.fail("plugins", "no plugins in the list")
    return tuple(_plugin(plugin) for plugin in fields.objects("plugins"))


def _plugin(fields: Fields) -> PluginConf:
    kind = fields.string("type")
    if not kind:
        fields.fail("type", "missing")
    if "/" in kind or "\0" in kind:
        fields.fail("type", f"{shown(kind)} is not the name of a plugin")
    # libcni decodes these keys of every plugin, so they need the right types even if the plugin ignores them
    for key in ("name", "cniVersion"):
        fields.string(key)
    fields.object("ipam").string("type")
    dns = fields.object("dns")
    dns.string("domain")
    for key in ("nameservers", "search", "options"):
        dns.strings(key)
    capabilities = fields.object("capabilities")
    return PluginConf(
        kind, frozenset(name for name in capabilities.values if capabilities.boolean(name)), fields.values
    )


def _plugins_in(directory: Path) -> Iterator[PluginConf]:
    for file in _files(directory, (".conf",)):
        data = _read(file)
        with _errors_of(data, file):
            yield _plugin(Fields.of(decode(data)))


def _refuse(path: Path) -> None:
    if found := trust.flaw_of(path):
        raise ConfigurationError(f"not obeyed: {found}", source=path)


def _files(directory: Path, suffixes: tuple[str, ...]) -> list[Path]:
    try:
        with os.scandir(directory) as entries:
            names = [entry.name for entry in entries if not entry.is_dir(follow_symlinks=False)]
    except FileNotFoundError:
        return []
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"cannot be read: {_reason(error)}", source=directory) from None
    return [directory / name for name in sorted(names, key=os.fsencode) if name.endswith(suffixes)]


def _read(path: Path) -> bytes:
    try:
        with open(path, "rb", opener=_open_at_once) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise ConfigurationError("not a regular file", source=path)
            data = file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"cannot be read: {_reason(error)}", source=path) from None
    if len(data) > MAX_BYTES:
        raise ConfigurationError(f"larger than {MAX_BYTES} bytes", source=path)
    return data


def _open_at_once(path: str, flags: int) -> int:
    # without O_NONBLOCK, opening a FIFO would block for ever
    return os.open(path, flags | os.O_NONBLOCK | os.O_NOCTTY)


def _reason(error: OSError | ValueError) -> str:
    return (isinstance(error, OSError) and error.strerror) or str(error)
