"""What completion offers at each place of a command line, for the scripts of all shells."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from dockercni import settings
from dockercni.commands.table import COMMANDS

if TYPE_CHECKING:
    from dockercni.commands.table import Argument, Command

CONTAINERS = "docker ps --filter network=none --format '{{.Names}}' 2>/dev/null"
NETWORKS = "dockercni networks -o name 2>/dev/null"
_KNOWN = {"CONTAINER", "NETWORK", "DIR", "FILE", "COMMAND"}


@dataclass(frozen=True, slots=True)
class Value:
    """What a place takes: one of `words`, something of a `kind` (CONTAINER, NETWORK, DIR, FILE), or any text."""

    name: str
    words: tuple[str, ...] = ()
    kind: str = ""


@dataclass(frozen=True, slots=True)
class Option:
    """An option. Without a `value` it is a switch; with `bare` its value is optional and follows an equals sign."""

    names: tuple[str, ...]
    help: str
    value: Value | None = None
    bare: bool = False


def options(command: Command | None) -> list[Option]:
    """The options of a command, including those of all commands; for None, the options before the command."""
    own = [_option(argument) for argument in command.arguments if not argument.positional] if command else []
    outputs = command.outputs if command else ("table", "wide", "name", "json")
    if outputs:
        own.append(Option(("-o", "--output"), "how to print", Value("output", outputs)))
    own.append(Option(("--settings",), "the settings file", Value("file", kind="FILE")))
    own.extend(
        Option((row.flag,), row.help, _of_setting(row), bare=row.kind is settings.BOOLEAN) for row in settings.TABLE
    )
    return [*own, Option(("-h", "--help"), "show the help")]


def operands(command: Command) -> tuple[list[Value], bool]:
    """The operands of a command, and whether the last one may be repeated."""
    positional = [argument for argument in command.arguments if argument.positional]
    if second := below(command.name):
        return [Value("command", tuple(second))], False
    return [_value(argument) for argument in positional], any(one.nargs in {"*", "+"} for one in positional)


def below(name: str) -> dict[str, str]:
    """The second words of the commands below the command `name`, with their help."""
    return {two[1]: one.help for one in COMMANDS if len(two := one.name.split()) == 2 and two[0] == name}


def _option(argument: Argument) -> Option:
    value = _value(argument) if argument.metavar else None
    return Option(argument.names, argument.help, value, bare=argument.bare is not None)


def _value(argument: Argument) -> Value:
    name = argument.metavar.lower()
    if argument.metavar == "COMMAND":
        return Value(name, first_words())
    if argument.choices:
        return Value("choice", argument.choices)
    return Value(name, kind=_kind(argument.metavar))


def _of_setting(row: settings.Setting) -> Value:
    return Value(row.key, row.kind.choices, _kind(row.kind.metavar))


def _kind(metavar: str) -> str:
    return metavar if metavar in _KNOWN else "FILE" if metavar == "NETNS" else ""


def first_words() -> tuple[str, ...]:
    """The first word of each command, once."""
    return tuple(dict.fromkeys(command.name.split()[0] for command in COMMANDS))
