"""The command line: a parser made from the tables of commands and settings; a command is imported when it runs."""

import argparse
import os
import sys
from collections.abc import Sequence
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

from dockercni import render, settings
from dockercni.commands.table import COMMANDS, EXIT_CODES, Argument, Command, Invocation
from dockercni.commands.usage import fill, sentence, usage
from dockercni.errors import DockercniError, UsageError

_SWITCHES = {setting.flag for setting in settings.TABLE if setting.kind is settings.BOOLEAN}
_BY_NAME = {command.name: command for command in COMMANDS}
_OUTPUTS = ("table", "wide", "name", "json")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; `argv` is without the program's name."""
    try:
        code = _guarded(sys.argv[1:] if argv is None else argv)
        sys.stdout.flush()  # here, where a closed pipe can still be handled
    except BrokenPipeError:
        # The interpreter flushes once more at exit, and would print an error.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141  # the exit code of a command that SIGPIPE ended
    return code


def _guarded(argv: Sequence[str]) -> int:
    try:
        return _run(argv)
    except DockercniError as error:
        render.error(str(error))
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    except SystemExit as stop:  # how argparse ends after --help
        return int(stop.code or 0)


def _run(argv: Sequence[str]) -> int:
    top = _top_parser()
    given = top.parse_args(_spell_out(argv))
    if given.command is None:
        top.print_help(sys.stderr)
        return UsageError.exit_code
    command, rest = _resolve(given.command, given.rest)
    # Intermixed, so that `add web --network lan /run/netns/x` works; argparse's own subparsers cannot do that.
    found = vars(_command_parser(command).parse_intermixed_args(rest))
    found = {**{name: value for name, value in vars(given).items() if name not in ("command", "rest")}, **found}
    output = found.pop("output", None)
    if output and output not in command.outputs:
        raise UsageError(f"{command.name} cannot print {output}")
    file = Path(found.pop("settings", None) or os.environ.get(settings.FILE_VARIABLE) or settings.DEFAULT_FILE)
    keys = (*(setting.key for setting in settings.TABLE), *settings.FORMER)
    flags = {key: found.pop(key) for key in keys if key in found}
    load = partial(settings.load, flags, dict(os.environ), file)
    invocation = Invocation(load(), argparse.Namespace(**found), output or "table", load)
    code: int = import_module(command.module).run(invocation)
    return code


def _resolve(word: str, rest: list[str]) -> tuple[Command, list[str]]:
    """The command, whose name is one word or two, and the words after it."""
    if rest and (command := _BY_NAME.get(f"{word} {rest[0]}")):
        return command, rest[1:]
    if word not in _BY_NAME:
        raise UsageError(f"unknown command {word!r}{settings.nearest(word, _BY_NAME)}")
    command = _BY_NAME[word]
    below = [name.removeprefix(f"{word} ") for name in _BY_NAME if name.startswith(f"{word} ")]
    if below and not command.arguments and rest and not rest[0].startswith("-"):
        raise UsageError(f"{word} has no {rest[0]!r}{settings.nearest(rest[0], below)} (known: {', '.join(below)})")
    return command, rest


def _spell_out(argv: Sequence[str]) -> list[str]:
    """Make a bare switch mean true, as Docker does: its value, if any, follows "=", never a space."""
    end = argv.index("--") if "--" in argv else len(argv)
    return [f"{arg}=true" if arg in _SWITCHES and i < end else arg for i, arg in enumerate(argv)]


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are one line, and whose options cannot be shortened."""

    def __init__(self, prog: str, usage: str, description: str, epilog: str = "") -> None:
        super().__init__(
            prog,
            usage,
            description,
            epilog,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
            argument_default=argparse.SUPPRESS,  # so that a flag before the command keeps its value
        )

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message} (see '{self.prog} --help')")


def _top_parser() -> _Parser:
    described = "\n".join(f"  {command.name:<19}{command.help}" for command in COMMANDS)
    codes = "\n".join(f"  {code:<5}{meaning}" for code, meaning in EXIT_CODES)
    parser = _Parser(
        "dockercni",
        "dockercni [OPTION...] COMMAND [ARGUMENT...]",
        f"Runs CNI plugins on Docker containers started with --network none.\n\ncommands:\n{described}",
        f"exit codes:\n{codes}\n\n'dockercni COMMAND --help' describes one command.",
    )
    for name, nargs in (("command", None), ("rest", argparse.REMAINDER)):
        action = parser.add_argument(name, nargs=nargs, default=None, help=argparse.SUPPRESS)
        action.required = False  # without a command the help is printed
    _add_output(parser, _OUTPUTS)
    _add_settings(parser)
    return parser


def _command_parser(command: Command) -> _Parser:
    prog = f"dockercni {command.name}"
    parser = _Parser(prog, usage(command), "\n\n".join(filter(None, (sentence(command.help), fill(command.more)))))
    for argument in command.arguments:
        parser.add_argument(*argument.names, **_keywords(argument))
    _add_output(parser, command.outputs)
    _add_settings(parser)
    return parser


def _keywords(argument: Argument) -> dict[str, Any]:
    if not argument.metavar:
        return {"help": argument.help, "action": "store_true", "default": False}
    keywords: dict[str, Any] = {"help": argument.help, "metavar": argument.metavar, "type": argument.parse}
    if argument.nargs:
        keywords["nargs"] = argument.nargs
    if argument.bare is not None:
        keywords["const"] = argument.bare
    if argument.choices:
        keywords["choices"] = argument.choices
    if argument.repeated:
        keywords["action"] = "append"
    several = argument.repeated or argument.nargs in {"*", "+"}
    return {**keywords, "default": [] if several else None}


def _add_output(parser: argparse.ArgumentParser, outputs: Sequence[str]) -> None:
    # Accepted also where there is nothing to choose, so that the error can say so.
    words = "|".join(outputs)
    text = "how to print (default: table)" if outputs else argparse.SUPPRESS
    parser.add_argument("-o", "--output", choices=_OUTPUTS, metavar=words, help=text)


def _add_settings(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group(
        "settings", "also read from the settings file, and from DOCKERCNI_<KEY> in the environment"
    )
    group.add_argument("--settings", metavar="FILE", help=f"the settings file (default: {settings.DEFAULT_FILE})")
    for setting in settings.TABLE:
        group.add_argument(
            setting.flag,
            dest=setting.key,
            metavar=setting.kind.metavar,
            help=f"{setting.help} (default: {setting.default_text})",
        )
    for former in settings.FORMER:  # still understood, no longer documented
        group.add_argument(f"--{former}", dest=former, help=argparse.SUPPRESS)
