"""Usage lines, options and sentences of the table of commands, for help, man pages and docs alike."""

from dockercni.commands.table import Argument, Command

_WIDTH = 79


def usage(command: Command) -> str:
    """The usage line of a command."""
    operands = [operand(argument) for argument in command.arguments if argument.positional]
    return " ".join(["dockercni", command.name, "[OPTION...]", *operands])


def operand(argument: Argument) -> str:
    """A positional argument as a usage line shows it."""
    return {None: "{}", "?": "[{}]", "*": "[{}...]", "+": "{}..."}[argument.nargs].format(argument.metavar)


def option(argument: Argument) -> str:
    """An option with its value, as a list of options shows it."""
    names = ", ".join(argument.names)
    if not argument.metavar:
        return names
    return f"{names}[={argument.metavar}]" if argument.bare is not None else f"{names} {argument.metavar}"


def sentence(text: str) -> str:
    """A phrase of the table as a sentence."""
    return f"{text[0].upper()}{text[1:]}."


def fill(text: str) -> str:
    """A paragraph, wrapped for a terminal."""
    from textwrap import fill  # noqa: PLC0415  only where a text is shown

    return fill(text, _WIDTH)
