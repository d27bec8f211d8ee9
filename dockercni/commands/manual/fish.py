"""The completion script for fish."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dockercni.commands.manual import choices
from dockercni.commands.table import COMMANDS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dockercni.commands.manual.choices import Option, Value
    from dockercni.commands.table import Command

_HEAD = """# fish completion of dockercni, made by "dockercni completion fish"
complete -c dockercni -f
"""
_FIRST = "__fish_use_subcommand"
_OUTPUT = ("-o", "--output")


def script() -> str:
    """The script, to be sourced or put into a completions directory."""
    return _HEAD + "\n".join(_lines()) + "\n"


def _lines() -> Iterator[str]:
    whole = choices.options(None)
    for option in whole:
        yield from _option(option, _FIRST)
    shared = {option.names for option in whole} - {_OUTPUT}
    for command in COMMANDS:
        yield from _command(command, shared)
    for option in whole:
        if option.names in shared:
            yield from _option(option, f"not {_FIRST}")


def _command(command: Command, shared: set[tuple[str, ...]]) -> Iterator[str]:
    first, *second = command.name.split()
    below = " ".join(choices.below(first))
    seen = f"__fish_seen_subcommand_from {first}"
    place = f"{seen}; and not __fish_seen_subcommand_from {below}" if second else _FIRST
    yield f"complete -c dockercni -n {_quoted(place)} -a {(second or [first])[0]} -d {_quoted(command.help)}"
    if second:
        seen += f"; and __fish_seen_subcommand_from {second[0]}"
    for option in choices.options(command):
        if option.names not in shared:
            yield from _option(option, seen)
    if second or not below:  # else the next word is one of its subcommands
        for value in choices.operands(command)[0]:
            if words := _value(value):
                yield f"complete -c dockercni -n {_quoted(seen)} {words}"


def _option(option: Option, condition: str) -> Iterator[str]:
    names = " ".join(f"-l {name[2:]}" if name.startswith("--") else f"-s {name[1:]}" for name in option.names)
    value = "" if option.value is None or option.bare else f" {_value(option.value, required=True)}"
    yield f"complete -c dockercni -n {_quoted(condition)} {names}{value} -d {_quoted(option.help)}"


def _value(value: Value, *, required: bool = False) -> str:
    match value.kind:
        case "CONTAINER":
            given = f"-a {_quoted(f'({choices.CONTAINERS})')}"
        case "NETWORK":
            given = f"-a {_quoted(f'({choices.NETWORKS})')}"
        case "DIR":
            given = "-a '(__fish_complete_directories)'"
        case "FILE":
            given = "-F"
        case _:
            given = f"-a {_quoted(' '.join(value.words))}" if value.words else ""
    # -x is -r that offers no files besides
    return f"{'-r' if value.kind == 'FILE' else '-x'} {given}".rstrip() if required else given


def _quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
