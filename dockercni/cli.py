"""The command line: a parser made from the tables of commands and settings; a command is imported when it runs."""

import argparse
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

from dockercni import render, settings
from dockercni.commands.table import COMMANDS, EXIT_CODES, Argument, Command, Request
from dockercni.errors import DockercniError, UsageError

_SWITCHES = {setting.flag for setting in settings.TABLE if setting.kind is settings.BOOLEAN}
_BY_NAME = {command.name: command for command in COMMANDS}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; `argv` is without the program's name."""
    try:
        code = _guarded(sys.argv[1:] if argv is None else argv)
        sys.stdout.flush()  # here, where a reader that went away can still be caught
    except BrokenPipeError:
        # The interpreter flushes again when it ends, and would complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141  # what the shell says of a command that SIGPIPE ended
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
    if given.command not in _BY_NAME:
        raise UsageError(f"unknown command {given.command!r}{settings.nearest(given.command, _BY_NAME)}")
    command = _BY_NAME[given.command]
    # Intermixed, so that `add web --network lan /run/netns/x` works; argparse's own subparsers cannot do that.
    found = vars(_command_parser(command).parse_intermixed_args(given.rest))
    found = {**{name: value for name, value in vars(given).items() if name not in ("command", "rest")}, **found}
    output = found.pop("output", None)
    if output and not command.output:
        raise UsageError(f"{command.name} has nothing to print as {output}")
    file = Path(found.pop("settings", None) or os.environ.get(settings.FILE_VARIABLE) or settings.DEFAULT_FILE)
    flags = {setting.key: found.pop(setting.key) for setting in settings.TABLE if setting.key in found}
    request = Request(settings.load(flags, os.environ, file), argparse.Namespace(**found), output or "table")
    code: int = import_module(command.module).run(request)
    return code


def _spell_out(argv: Sequence[str]) -> list[str]:
    """Let a bare switch mean true, as Docker does: its value, if any, follows "=", never a space."""
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
            argument_default=argparse.SUPPRESS,  # so that a flag before the command survives its absence behind it
        )

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message} (see '{self.prog} --help')")


def _top_parser() -> _Parser:
    described = "\n".join(f"  {command.name:<10}{command.help}" for command in COMMANDS)
    codes = "\n".join(f"  {code:<5}{meaning}" for code, meaning in EXIT_CODES)
    parser = _Parser(
        "dockercni",
        "dockercni [OPTION...] COMMAND [ARGUMENT...]",
        f"Runs CNI plugins on Docker containers started with --network none.\n\ncommands:\n{described}",
        f"exit codes:\n{codes}\n\n'dockercni COMMAND --help' describes one command.",
    )
    for name, nargs in (("command", None), ("rest", argparse.REMAINDER)):
        action = parser.add_argument(name, nargs=nargs, default=None, help=argparse.SUPPRESS)
        action.required = False  # no command at all is answered with the help
    _add_output(parser)
    _add_settings(parser)
    return parser


def _command_parser(command: Command) -> _Parser:
    prog = f"dockercni {command.name}"
    operands = [_operand(argument) for argument in command.arguments if argument.positional]
    parser = _Parser(prog, " ".join([prog, "[OPTION...]", *operands]), f"{command.help[0].upper()}{command.help[1:]}.")
    for argument in command.arguments:
        parser.add_argument(*argument.names, **_keywords(argument))
    _add_output(parser, help_wanted=command.output)
    _add_settings(parser)
    return parser


def _operand(argument: Argument) -> str:
    return {None: "{}", "?": "[{}]", "*": "[{}...]"}[argument.nargs].format(argument.metavar)


def _keywords(argument: Argument) -> dict[str, Any]:
    if not argument.metavar:
        return {"help": argument.help, "action": "store_true", "default": False}
    keywords = {"help": argument.help, "metavar": argument.metavar, "type": argument.parse}
    if argument.nargs:
        keywords["nargs"] = argument.nargs
    if argument.repeated:
        keywords["action"] = "append"
    several = argument.repeated or argument.nargs == "*"
    return {**keywords, "default": [] if several else None}


def _add_output(parser: argparse.ArgumentParser, *, help_wanted: bool = True) -> None:
    text = "how to print (default: table)" if help_wanted else argparse.SUPPRESS
    parser.add_argument("-o", "--output", choices=("table", "json"), metavar="table|json", help=text)


def _add_settings(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group(
        "settings", "also in the settings file, and as DOCKERCNI_<KEY> in the environment"
    )
    group.add_argument("--settings", metavar="FILE", help=f"the settings file (default: {settings.DEFAULT_FILE})")
    for setting in settings.TABLE:
        group.add_argument(
            setting.flag,
            dest=setting.key,
            metavar=setting.kind.metavar,
            help=f"{setting.help} (default: {setting.default_text})",
        )
