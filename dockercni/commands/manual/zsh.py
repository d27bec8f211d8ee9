"""The completion function for zsh."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dockercni.commands.manual import choices
from dockercni.commands.table import COMMANDS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from dockercni.commands.manual.choices import Option, Value
    from dockercni.commands.table import Command

_HEAD = f"""#compdef dockercni
# zsh completion of dockercni, made by "dockercni completion zsh"

_dockercni_containers() {{
    local -a found=(${{(f)"$({choices.CONTAINERS})"}})
    _describe container found
}}

_dockercni_networks() {{
    local -a found=(${{(f)"$({choices.NETWORKS})"}})
    _describe network found
}}
"""


def script() -> str:
    """The function, to be put into a directory of fpath as _dockercni, or to be sourced."""
    functions = [line for command in COMMANDS for line in (*_function(command), "")]
    return "\n".join([_HEAD, *functions, *_main(), "", *_start()]) + "\n"


def _main() -> Iterator[str]:
    yield "_dockercni() {"
    first = {one.name: one.help for one in COMMANDS if " " not in one.name}
    yield from _dispatch(choices.options(None), first, "_dockercni_")
    yield "}"


def _function(command: Command) -> Iterator[str]:
    yield f"_dockercni_{command.name.replace(' ', '_')}() {{"
    if second := choices.below(command.name):
        yield from _dispatch(choices.options(command), second, f"_dockercni_{command.name}_")
    else:
        values, repeated = choices.operands(command)
        places = [f"{number}:{value.name}:{_action(value)}" for number, value in enumerate(values, 1)]
        if repeated:
            places[-1] = f"*{places[-1].removeprefix(str(len(places)))}"
        yield from _arguments(choices.options(command), [_quoted(place) for place in places])
    yield "}"


def _dispatch(options: Sequence[Option], commands: Mapping[str, str], prefix: str) -> Iterator[str]:
    """Complete one of the commands, and leave the words after it to that command's function."""
    yield "    local curcontext=$curcontext state line"
    yield "    typeset -A opt_args"
    yield from _arguments(options, ["'1: :->command'", "'*:: :->rest'"], "-C")
    yield "    case $state in"
    yield "        command)"
    yield "            local -a commands=("
    yield from (f"                {_quoted(f'{name}:{text}')}" for name, text in commands.items())
    yield "            )"
    yield "            _describe command commands"
    yield "            ;;"
    yield f"        rest) (( ! $+functions[{prefix}$words[1]] )) || {prefix}$words[1] ;;"
    yield "    esac"


def _start() -> Iterator[str]:
    yield 'if [[ $funcstack[1] == "_dockercni" ]]; then'
    yield '    _dockercni "$@"'
    yield "else"
    yield "    compdef _dockercni dockercni"
    yield "fi"


def _arguments(options: Sequence[Option], places: Sequence[str], flags: str = "") -> Iterator[str]:
    specs = [*(spec for option in options for spec in _specs(option)), *places]
    yield f"    _arguments {flags} \\".replace("  \\", " \\")
    yield from (f"        {spec} \\" for spec in specs[:-1])
    yield f"        {specs[-1]}"


def _specs(option: Option) -> Iterator[str]:
    text = option.help.replace("[", "\\[").replace("]", "\\]").replace(":", "\\:")
    others = f"({' '.join(option.names)})" if len(option.names) > 1 else ""
    for name in option.names:
        if option.value is None:
            yield _quoted(f"{others}{name}[{text}]")
            continue
        equals = "=-" if option.bare else "=" if name.startswith("--") else "+"
        message = f"{':' if option.bare else ''}:{option.value.name}:{_action(option.value)}"
        yield _quoted(f"{others}{name}{equals}[{text}]{message}")


def _action(value: Value) -> str:
    match value.kind:
        case "CONTAINER":
            return "_dockercni_containers"
        case "NETWORK":
            return "_dockercni_networks"
        case "DIR":
            return "_files -/"
        case "FILE":
            return "_files"
    return f"({' '.join(value.words)})" if value.words else " "


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"
