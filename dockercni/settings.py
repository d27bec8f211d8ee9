"""The one table of settings, and where their values come from: flags win over environment, file and defaults."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from dockercni import durations
from dockercni.cni import trust
from dockercni.errors import SettingsError

DEFAULT_FILE = Path("/etc/dockercni/dockercni.toml")
FILE_VARIABLE = "DOCKERCNI_SETTINGS"

_PREFIX = "DOCKERCNI_"
_BOOLEANS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
_TOML_NAMES = {"str": "string", "int": "integer", "bool": "boolean", "float": "float", "list": "array", "dict": "table"}


@dataclass(frozen=True, slots=True)
class Kind:
    """What values a setting takes: its type in the file, how help shows it, and how text becomes the value.

    `parse` raises ValueError or KeyError for everything that `allowed` does not describe.
    """

    toml: type
    metavar: str
    allowed: str
    parse: Callable[[str], Any]
    choices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Setting:
    """One row of the table; `default` is written as it would be in the file.

    A `fixed` setting keeps, in a running daemon, the value that it was started with. `former` is the name of the
    version before, which is still read, and `former_values` are what its values were called.
    """

    key: str
    kind: Kind
    default: str | int | bool
    help: str
    fixed: bool = False
    former: str = ""
    former_values: tuple[tuple[str, str], ...] = ()

    @property
    def attribute(self) -> str:
        return self.key.replace("-", "_")

    @property
    def flag(self) -> str:
        return _flag(self.key)

    @property
    def variable(self) -> str:
        return _variable(self.key)

    @property
    def default_text(self) -> str:
        return _spell(self.default) or '""'


def _flag(key: str) -> str:
    return f"--{key}"


def _variable(key: str) -> str:
    return _PREFIX + key.replace("-", "_").upper()


def _matching(pattern: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if not re.fullmatch(pattern, text):
            raise ValueError(text)
        return text

    return parse


def _count(text: str) -> int:
    if not re.fullmatch("[0-9]{1,3}", text) or not 1 <= int(text) <= 256:
        raise ValueError(text)
    return int(text)


def _duration_or_off(text: str) -> float | None:
    return None if text == "off" else durations.seconds(text)


def _directory(text: str) -> Path:
    if not text.startswith("/") or "\0" in text:
        raise ValueError(text)
    return Path(text)


def _directories(text: str) -> tuple[Path, ...]:
    return tuple(_directory(part) for part in re.split("[:,]", text))


def _choice(*words: str) -> Kind:
    return Kind(
        str, "|".join(words), " or ".join(f'"{word}"' for word in words), {w: w for w in words}.__getitem__, words
    )


BOOLEAN = Kind(bool, "true|false", "true or false", lambda text: _BOOLEANS[text.lower()], ("true", "false"))
COUNT = Kind(int, "N", "a whole number from 1 to 256", _count)
DURATION = Kind(str, "DURATION", durations.ALLOWED, durations.seconds)
DURATION_OR_OFF = Kind(str, "DURATION|off", f'{DURATION.allowed}, or "off"', _duration_or_off)
DIRECTORY = Kind(str, "DIR", "an absolute path", _directory)
DIRECTORIES = Kind(str, "DIR[:DIR...]", "absolute paths with a colon or comma between them", _directories)
HOST = Kind(str, "URL", '"unix:///PATH" or "tcp://HOST:PORT"', _matching(r"unix:///[^\0]+|tcp://[^\s/]+:[0-9]+"))
NETWORK = Kind(str, "NETWORK", 'a network name, or ""', _matching(r"|[A-Za-z0-9][A-Za-z0-9_.-]*"))

TABLE = (
    Setting("docker-host", HOST, "unix:///run/docker.sock", "where the engine listens", fixed=True),
    Setting(
        "docker-root",
        DIRECTORY,
        "/var/lib/docker",
        "Docker's data root, used until the engine reports its own",
        fixed=True,
    ),
    Setting("attach", _choice("all", "labelled"), "all", "which containers with network mode none get networks"),
    Setting(
        "attach-running",
        BOOLEAN,
        False,
        "also attach containers that ran before the first start of dockercni on this host",
    ),
    Setting(
        "default-network", NETWORK, "", "the network of containers that name none; if empty, that of the first file"
    ),
    Setting("trust-image-labels", BOOLEAN, False, "obey dockercni labels that come with the image"),
    Setting("cni-conf-dir", DIRECTORY, "/etc/cni/net.d", "directory of network configurations", fixed=True),
    Setting(
        "cni-bin-dir",
        DIRECTORIES,
        "/opt/cni/bin:/usr/lib/cni:/usr/libexec/cni",
        "directories of plugin executables",
        fixed=True,
    ),
    Setting("cni-cache-dir", DIRECTORY, "/var/lib/cni", "results of ADD, in libcni's format", fixed=True),
    Setting("state-dir", DIRECTORY, "/var/lib/dockercni", "what survives a reboot, such as last addresses", fixed=True),
    Setting("run-dir", DIRECTORY, "/run/dockercni", "locks, sockets, the daemon's status", fixed=True),
    Setting(
        "netns-dir", DIRECTORY, "/run/netns", "mounts that keep the namespaces of containers reachable", fixed=True
    ),
    Setting(
        "backend",
        _choice("auto", "builtin", "exec"),
        "auto",
        "what serves plugins: the built-in ones, executables, or (auto) a built-in one that supports all that is "
        "configured, else the executable",
        former="engine",
        former_values=(("native", "builtin"),),
    ),
    Setting(
        "isolation",
        _choice("on", "off"),
        "on",
        "whether containers are kept from unpublished ports on other networks, Docker's included",
    ),
    Setting(
        "hold",
        DURATION_OR_OFF,
        "10s",
        "how long a starting container is held at most, until its network is ready",
        fixed=True,
    ),
    Setting(
        "on-failure",
        _choice("leave", "hold", "stop"),
        "leave",
        "what happens to a starting container whose ADD fails: it runs without, is held until the limit, or is killed",
    ),
    Setting("plugin-timeout", DURATION, "60s", "how long a plugin may run before it is killed"),
    Setting("resync-interval", DURATION_OR_OFF, "5m", "how often all containers are reconciled, besides events"),
    Setting("workers", COUNT, 8, "how many containers are handled at the same time", fixed=True),
    Setting("log-level", _choice("debug", "info", "warning", "error"), "info", "the lowest level that is logged"),
    Setting(
        "log-format",
        _choice("auto", "console", "json"),
        "auto",
        "how to log; auto: console on a terminal, lines in the journal, else JSON",
    ),
)

FORMER = {setting.former: setting for setting in TABLE if setting.former}
"""Settings by the names that they had in the version before."""

RENAME = "rename it, the next release refuses it"
"""What to do about a setting that is given by its former name."""

_BY_KEY = {setting.key: setting for setting in TABLE}
_KEY_OF_VARIABLE = {_variable(key): key for key in (*_BY_KEY, *FORMER)}


@dataclass(frozen=True, slots=True)
class Settings:
    """Every setting's value: paths are absolute, durations are seconds, None is "off".

    `origins` says for each key where its value came from: "default", the file, "environment NAME" or "flag --KEY".
    `old_names` are the settings that were given by the name of the version before: that name, and where it stands.
    """

    docker_host: str
    docker_root: Path
    attach: Literal["all", "labelled"]
    attach_running: bool
    default_network: str
    trust_image_labels: bool
    cni_conf_dir: Path
    cni_bin_dir: tuple[Path, ...]
    cni_cache_dir: Path
    state_dir: Path
    run_dir: Path
    netns_dir: Path
    backend: Literal["auto", "builtin", "exec"]
    isolation: Literal["on", "off"]
    hold: float | None
    on_failure: Literal["leave", "hold", "stop"]
    plugin_timeout: float
    resync_interval: float | None
    workers: int
    log_level: Literal["debug", "info", "warning", "error"]
    log_format: Literal["auto", "console", "json"]
    origins: Mapping[str, str] = field(compare=False)
    old_names: tuple[tuple[str, str], ...] = field(default=(), compare=False)

    @property
    def renamed(self) -> list[str]:
        """One line for each of `old_names`, to be followed by RENAME."""
        return [f"{origin}: {name} is the old name of {FORMER[name].key}" for name, origin in self.old_names]


def load(flags: Mapping[str, str | bool], environ: Mapping[str, str], file: Path) -> Settings:
    """Find the value of every setting. `flags` is keyed by setting, without the dashes.

    A missing file is an error unless it is DEFAULT_FILE. Every value is checked, even if a later source overrides it.
    Raises SettingsError, one line with the place, the key, the value and what is allowed.
    """
    values = {setting.attribute: setting.kind.parse(_spell(setting.default)) for setting in TABLE}
    origins = {setting.key: "default" for setting in TABLE}
    old_names: list[tuple[str, str]] = []
    for source in (_from_file(file), _from_environment(environ), _from_flags(flags)):
        found: dict[str, Any] = {}
        for key, raw, origin, place in source:
            setting = _setting(key)
            value = _parse(setting, _renamed(setting, raw) if key == setting.former else raw, place)
            if found.setdefault(setting.attribute, value) != value:
                raise SettingsError(
                    f"{place}: {setting.former} is the old name of {setting.key}, and both are given with different "
                    f"values; keep {setting.key} only"
                )
            origins[setting.key] = origin
            if key == setting.former:
                old_names.append((key, origin))
        values |= found
    return Settings(**values, origins=origins, old_names=tuple(old_names))


def spelled(value: object) -> str:
    """Write a setting's value as its file and flag would have it."""
    match value:
        case None:
            return "off"
        case bool():
            return _spell(value)
        case float():
            return durations.spelled(value)
        case tuple():
            return ":".join(map(str, value))
    return str(value)


def nearest(word: str, known: Iterable[str]) -> str:
    """The end of a message about an unknown word: "; did you mean KNOWN?", or nothing if no known word is close."""
    from difflib import get_close_matches  # noqa: PLC0415  slow to import, and only needed for messages

    matches = get_close_matches(word[:80], known, n=1)
    return f"; did you mean {matches[0]}?" if matches else ""


# What a source yields: a key, current or former, its raw value, the origin to remember, and the place for messages.
_Given = tuple[str, Any, str, str]


def _setting(key: str) -> Setting:
    return _BY_KEY.get(key) or FORMER[key]


def _renamed(setting: Setting, value: Any) -> Any:
    return next((new for old, new in setting.former_values if old == value), value)


def _from_file(file: Path) -> Iterator[_Given]:
    for key, value in _read(file).items():
        if key not in _BY_KEY and key not in FORMER:
            raise SettingsError(f"{file}: unknown key {key!r}{nearest(key, _BY_KEY)}")
        kind = _setting(key).kind
        if type(value) is not kind.toml:  # not isinstance: a bool is an int, too
            wanted, got = (_TOML_NAMES.get(name, "date") for name in (kind.toml.__name__, type(value).__name__))
            raise SettingsError(
                f"{file}: {key} = {_show(value)}: must be {kind.allowed} (a TOML {wanted}, not a TOML {got})"
            )
        yield key, value, str(file), f"{file}: {key}"


def _from_environment(environ: Mapping[str, str]) -> Iterator[_Given]:
    for name, text in environ.items():
        if not name.startswith(_PREFIX) or name == FILE_VARIABLE:
            continue
        if name not in _KEY_OF_VARIABLE:
            known = [*map(_variable, _BY_KEY), FILE_VARIABLE]
            raise SettingsError(f"environment: unknown variable {name}{nearest(name, known)}")
        origin = f"environment {name}"
        yield _KEY_OF_VARIABLE[name], text, origin, origin


def _from_flags(flags: Mapping[str, str | bool]) -> Iterator[_Given]:
    for key, value in flags.items():
        origin = f"flag {_flag(key)}"
        yield key, value, origin, origin


def _read(file: Path) -> dict[str, Any]:
    if found := trust.flaw_of(file):
        raise SettingsError(f"{file}: not obeyed: {found}")
    try:
        text = file.read_bytes().decode()
    except FileNotFoundError:
        if file == DEFAULT_FILE:
            return {}
        raise SettingsError(f"{file}: there is no such settings file") from None
    except UnicodeDecodeError as error:
        raise SettingsError(f"{file}: {_position(error.object[: error.start])}: not UTF-8") from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise SettingsError(f"{file}: cannot read the settings file: {getattr(error, 'strerror', error)}") from None
    import tomllib  # noqa: PLC0415  only when there is a file: most commands run without one

    try:
        return tomllib.loads(text)
    except RecursionError:
        raise SettingsError(f"{file}: nested too deeply") from None
    except ValueError as error:  # not only TOMLDecodeError: int() refuses thousands of digits by itself
        end = _position(text.encode())
        problem = str(error).replace("(at line", "(line").replace("end of document", f"the end, {end}")
        raise SettingsError(f"{file}: not valid TOML: {problem}") from None


def _position(before: bytes) -> str:
    lines = before.split(b"\n")
    return f"line {len(lines)}, column {len(lines[-1]) + 1}"


def _parse(setting: Setting, value: str | int | bool, place: str) -> Any:
    try:
        return setting.kind.parse(_spell(value))
    except (ValueError, KeyError):
        raise SettingsError(f"{place} = {_show(value)}: must be {setting.kind.allowed}") from None


def _spell(value: str | int | bool) -> str:
    """Write a value as the environment would have it, so that one parser serves every source."""
    if isinstance(value, bool):
        return "true" if value else "false"
    # TOML has no integer above 64 bits, but tomllib reads any; str() refuses the very long ones, hex() does not.
    return hex(value) if isinstance(value, int) and value.bit_length() > 64 else str(value)


def _show(value: object) -> str:
    """Write a value for a message: one line, at most about 80 characters."""
    if isinstance(value, list | dict):
        return "[...]" if isinstance(value, list) else "{...}"
    text = repr(value) if isinstance(value, str) else _spell(value) if isinstance(value, int) else str(value)
    return text if len(text) <= 80 else f"{text[:80]}..."
