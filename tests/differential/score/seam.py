"""Between the built-in plugins and their configurations: records which keys they read, or breaks one of them.

Does nothing unless an environment variable asks for it. Only tests and what they start import it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from typing import Any

from dockercni.cni import Result, versions
from dockercni.cni.runner import PluginCall
from dockercni.cni.strict_json import Fields
from dockercni.plugins import dispatch, keys, skeleton
from dockercni.plugins.contract import Request
from dockercni.plugins.table import PLUGINS
from tests.differential.score import paths
from tests.differential.score.breakage import Breakage
from tests.differential.score.paths import ARGUMENTS, EACH, Path

RECORD = "SCORE_RECORD"
BREAK = "SCORE_BREAK"
CASE = "PYTEST_CURRENT_TEST"

Note = Callable[[str, str, Path, Any], None]


def environment() -> dict[str, str]:
    """What a process has to be given that installs the seam as well."""
    return {name: os.environ[name] for name in (RECORD, BREAK, CASE) if name in os.environ}


def install() -> None:
    """Record into the file, or break the key, that the environment names."""
    if file := os.environ.get(RECORD):
        _wrap(_recorder(file), None)
    elif text := os.environ.get(BREAK):
        _wrap(lambda *_: None, Breakage.decode(text))


class Watched(dict[str, Any]):
    """An object of a configuration that notes which keys it is asked for."""

    def __init__(self, values: Mapping[str, Any], path: Path, note: Callable[[Path], None]) -> None:
        super().__init__({key: watched(each, (*path, key), note) for key, each in values.items()})
        self._path = path
        self._note = note

    def __contains__(self, key: object) -> bool:
        if EACH[0] not in str(key):  # the place of an error, such as ranges[0]
            self._note((*self._path, str(key)))
        return super().__contains__(key)


def watched(value: Any, path: Path, note: Callable[[Path], None]) -> Any:
    """A copy that notes what it is asked for, as far as its keys are the plugin's."""
    if paths.opaque(path):
        return value
    if isinstance(value, dict):
        return Watched(value, path, note)
    return [watched(each, (*path, EACH), note) for each in value] if isinstance(value, list) else value


def _recorder(file: str) -> Note:
    """Appends a line to `file` for each thing that is new to this process: several may write at once."""
    descriptor = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    known: set[str] = set()

    def note(what: str, plugin: str, path: Path, value: Any) -> None:
        line = json.dumps([what, os.environ.get(CASE, "").rpartition(" (")[0], plugin, path, value])
        if line not in known:
            known.add(line)
            os.write(descriptor, f"{line}\n".encode())

    return note


def _wrap(note: Note, broken: Breakage | None) -> None:
    def look(plugin: str, conf: Mapping[str, Any], what: str) -> Mapping[str, Any]:
        """The configuration as the plugin is to see it."""
        if broken:
            return _broken(conf, broken) if broken.concerns(plugin) else conf
        for path, value in paths.present(dict(conf)):
            note("has", plugin, path, value if isinstance(value, str) else None)
        found: Mapping[str, Any] = watched(dict(conf), (), lambda path: note(what, plugin, path, None))
        return found

    _wrap_requests(look, note, broken)
    for kind in PLUGINS:
        _wrap_unsupported(kind, look)
    if broken and broken.how == "refused":
        original = keys.unknown
        keys.unknown = lambda conf, known, place="": original(conf, _less(known, broken), place)
    if not broken:
        _wrap_serving(note)


def _wrap_requests(
    look: Callable[[str, Mapping[str, Any], str], Mapping[str, Any]], note: Note, broken: Breakage | None
) -> None:
    made, asked = Request.__init__, Request.arguments

    def make(self: Request, *arguments: Any, **named: Any) -> None:
        made(self, *arguments, **named)
        object.__setattr__(self, "conf", look(self.call.plugin, self.conf, "reads"))
        object.__setattr__(self, "fields", Fields(self.conf))
        if broken and broken.path == ("name",):
            object.__setattr__(self, "name", f"{self.name}-broken")
        if broken and broken.path == ("cniVersion",):
            object.__setattr__(self, "cni_version", versions.OLDEST)

    def ask(self: Request, *known: str) -> dict[str, str]:
        found = asked(self, *known)
        for key in known:
            note("reads", self.call.plugin, (ARGUMENTS, key), None)
        for key in found:
            note("has", self.call.plugin, paths.folded((ARGUMENTS, key)), None)
        if broken and broken.concerns(self.call.plugin) and broken.path[0] == ARGUMENTS:
            found.pop(broken.path[1], None)
        return found

    Request.__init__ = make  # type: ignore[method-assign]
    Request.arguments = ask  # type: ignore[method-assign]


def _wrap_serving(note: Note) -> None:
    original = skeleton.serve

    def serve(plugin: Any, supported: Any, call: PluginCall, runner: Any, **more: Any) -> Result | None:
        printed = original(plugin, supported, call, runner, **more)
        if call.verb == "DEL":  # succeeds whatever ADD said of the configuration
            return printed
        arguments = (pair.partition("=")[0] for pair in call.environment.get("CNI_ARGS", "").split(";"))
        for path, value in paths.present(dict(call.config) | {ARGUMENTS: dict.fromkeys(arguments, "")}):
            note("serves", call.plugin, path, value if isinstance(value, str) else None)
        return printed

    skeleton.serve = serve


def _wrap_unsupported(kind: str, look: Callable[[str, Mapping[str, Any], str], Mapping[str, Any]]) -> None:
    module: Any = dispatch.load(kind)
    original = module.unsupported
    module.unsupported = lambda conf: original(look(kind, conf, "refuses"))


def _broken(conf: Mapping[str, Any], broken: Breakage) -> Mapping[str, Any]:
    match broken.how:
        case "dropped":
            found = paths.without(dict(conf), broken.path)
        case "altered":
            found = paths.altered(dict(conf), broken.path, broken.old, broken.new)
        case "refused":
            found = dict(conf)
    return dict(found)


def _less(known: Any, broken: Breakage) -> list[str]:
    return [key for key in known if key != broken.path[-1]]
