"""Manual pages in man(7) macros."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dockercni import __version__, settings
from dockercni.commands import usage
from dockercni.commands.table import COMMANDS, EXIT_CODES

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from dockercni.commands.table import Command

MAIN = "dockercni"
_ABOUT = (
    "dockercni runs CNI plugins for plain Docker: every container that starts with --network none is attached to the "
    "networks that /etc/cni/net.d describes, and detached when it ends."
)


def pages() -> dict[str, str]:
    """Every page, by the name of its file."""
    return {f"{MAIN}.8": main()} | {f"{_title(command)}.8": page(command) for command in COMMANDS}


def main() -> str:
    """The page of the program."""
    lines = [*_head(MAIN, "CNI networking for plain Docker")]
    lines += [".SH SYNOPSIS", f".B {MAIN}", _text("[OPTION...] COMMAND [ARGUMENT...]")]
    lines += [".SH DESCRIPTION", _text(_ABOUT), ".SH COMMANDS"]
    lines += _terms((f"{_title(command)}(8)", usage.sentence(command.help)) for command in COMMANDS)
    lines += [".SH SETTINGS", _text(f"Each can be set in {settings.DEFAULT_FILE} (TOML), in the environment, or as a")]
    lines += [_text("flag of any command; the later of these wins. Unknown keys are errors.")]
    lines += _terms(
        (
            f"{row.key}, {row.variable}, {row.flag} {row.kind.metavar}",
            f"{usage.sentence(row.help)} Default: {row.default_text}."
            + (" A change needs a restart." if row.fixed else ""),
        )
        for row in settings.TABLE
    )
    return _joined([*lines, *_exit_codes(), *_see_also(_title(command) for command in COMMANDS)])


def page(command: Command) -> str:
    """The page of one command."""
    lines = [*_head(_title(command), command.help)]
    lines += [".SH SYNOPSIS", f".B {_text(f'{MAIN} {command.name}')}"]
    lines += [_text(usage.usage(command).removeprefix(f"{MAIN} {command.name} "))]
    lines += [".SH DESCRIPTION", _text(usage.sentence(command.help))]
    if command.more:
        lines += [".PP", _text(command.more)]
    if operands := [one for one in command.arguments if one.positional]:
        lines += [".SH ARGUMENTS", *_terms((one.metavar, usage.sentence(one.help)) for one in operands)]
    options = [(usage.option(one), usage.sentence(one.help)) for one in command.arguments if not one.positional]
    if command.outputs:
        options.append((f"-o, --output {'|'.join(command.outputs)}", "How to print (default: table)."))
    options.append(("--KEY VALUE", f"Any setting of {MAIN}(8)."))
    lines += [".SH OPTIONS", *_terms(options), *_exit_codes(), *_see_also([MAIN])]
    return _joined(lines)


def _title(command: Command) -> str:
    return f"{MAIN}-{command.name.replace(' ', '-')}"


def _head(title: str, purpose: str) -> Iterator[str]:
    yield f'.TH {title.upper()} 8 "" "{MAIN} {__version__}" "System Administration"'
    yield ".SH NAME"
    yield f"{_text(title)} \\- {_text(purpose)}"


def _exit_codes() -> Iterator[str]:
    yield ".SH EXIT STATUS"
    yield from _terms((str(code), usage.sentence(meaning)) for code, meaning in EXIT_CODES)


def _see_also(titles: Iterable[str]) -> Iterator[str]:
    yield ".SH SEE ALSO"
    yield ", ".join(f"{_text(title)}(8)" for title in titles)


def _terms(entries: Iterable[tuple[str, str]]) -> Iterator[str]:
    for term, meaning in entries:
        yield from (".TP", f".B {_text(term)}", _text(meaning))


def _text(text: str) -> str:
    """Text escaped for roff: hyphens stay hyphens when copied, and no line begins with a request."""
    escaped = text.replace("\\", "\\e").replace("-", "\\-")
    return f"\\&{escaped}" if escaped.startswith((".", "'")) else escaped


def _joined(lines: Iterable[str]) -> str:
    return "\n".join(lines) + "\n"
