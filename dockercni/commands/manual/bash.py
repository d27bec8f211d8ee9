"""The completion script for bash."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dockercni.commands.manual import choices
from dockercni.commands.table import COMMANDS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dockercni.commands.manual.choices import Option, Value
    from dockercni.commands.table import Command

_HEAD = r"""# bash completion of dockercni, made by "dockercni completion bash"

_dockercni_choose() {
    mapfile -t COMPREPLY < <(compgen "$@" -- "$cur")
}

_dockercni_files() {
    compopt -o filenames
    _dockercni_choose "$1"
}

_dockercni() {
    local cur=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]}
    local assigned="" command="" place=0 i=1
    COMPREPLY=()
    # bash makes "=" a word of its own
    if [[ $cur == "=" ]]; then
        cur="" assigned=1
    elif [[ $before == "=" ]]; then
        before=${COMP_WORDS[COMP_CWORD-2]} assigned=1
    fi
    while ((i < COMP_CWORD)); do
        case ${COMP_WORDS[i]} in
            @TAKING@)
                [[ ${COMP_WORDS[i+1]} != "=" ]] || ((i++))
                ((i++))
                ;;
            -*)
                [[ ${COMP_WORDS[i+1]} != "=" ]] || ((i += 2))
                ;;
            *)
                if [[ -z $command ]]; then
                    command=${COMP_WORDS[i]}
                else
                    case "$command ${COMP_WORDS[i]}" in
                        @TWO@) command+=" ${COMP_WORDS[i]}" ;;
                        *) ((place++)) ;;
                    esac
                fi
                ;;
        esac
        ((i++))
    done
"""
_TAIL = """}

complete -F _dockercni dockercni
"""


def script() -> str:
    """The script, to be sourced."""
    every = [option for command in (None, *COMMANDS) for option in choices.options(command)]
    taking = dict.fromkeys(name for option in every if option.value and not option.bare for name in option.names)
    two = " | ".join(f'"{command.name}"' for command in COMMANDS if " " in command.name)
    head = _HEAD.replace("@TAKING@", " | ".join(taking)).replace("@TWO@", two)
    return "\n".join([head.rstrip("\n"), *_values(every), *_commands()]) + "\n" + _TAIL


def _values(every: list[Option]) -> Iterator[str]:
    """What follows an option that takes a value."""
    yield '    case "$before" in'
    done: set[tuple[str, ...]] = set()
    for option in every:
        if option.value is None or option.names in done or option.names == ("-o", "--output"):
            continue
        done.add(option.names)
        condition = "[[ -z $assigned ]] || " if option.bare else ""
        body = [f"{condition}{{", f"    {_choose(option.value)}", "    return", "}"] if option.bare else None
        yield f"        {' | '.join(option.names)})"
        yield from (f"            {line}" for line in body or [_choose(option.value), "return"])
        yield "            ;;"
    yield "        -o | --output)"
    yield '            case "$command" in'
    for command in COMMANDS:
        if command.outputs:
            yield f'                "{command.name}") _dockercni_choose -W "{" ".join(command.outputs)}" ;;'
    yield '                *) _dockercni_choose -W "table wide name json" ;;'
    yield from ("            esac", "            return", "            ;;", "    esac")


def _commands() -> Iterator[str]:
    """The command itself, its options and its operands."""
    yield '    case "$command" in'
    yield '        "")'
    yield from _either(None, [f'_dockercni_choose -W "{" ".join(choices.first_words())}"'])
    for command in COMMANDS:
        values, repeated = choices.operands(command)
        yield f'        "{command.name}")'
        places = [_choose(value) for value in values]
        lines = ['case "$place" in'] if places else [":"]
        for number, what in enumerate(places):
            last = repeated and number == len(places) - 1
            lines.append(f"    {'*' if last else number}) {what} ;;")
        yield from _either(command, [*lines, "esac"] if places else lines)
    yield "    esac"


def _either(command: Command | None, lines: list[str]) -> Iterator[str]:
    words = " ".join(name for option in choices.options(command) for name in option.names)
    yield "            if [[ $cur == -* ]]; then"
    yield f'                _dockercni_choose -W "{words}"'
    yield "            else"
    yield from (f"                {line}" for line in lines)
    yield from ("            fi", "            ;;")


def _choose(value: Value) -> str:
    match value.kind:
        case "CONTAINER":
            return f'_dockercni_choose -W "$({choices.CONTAINERS})"'
        case "NETWORK":
            return f'_dockercni_choose -W "$({choices.NETWORKS})"'
        case "DIR":
            return "_dockercni_files -d"
        case "FILE":
            return "_dockercni_files -f"
    return f'_dockercni_choose -W "{" ".join(value.words)}"' if value.words else ":"
