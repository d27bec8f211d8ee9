"""The reference of commands and settings, as pages for docs/; `scripts/reference.py` writes them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dockercni import settings
from dockercni.commands import usage
from dockercni.commands.table import COMMANDS, EXIT_CODES

if TYPE_CHECKING:
    from collections.abc import Iterator


def pages() -> dict[str, str]:
    """Maps the name of each generated file in docs/ to its text."""
    commands = ["# Commands", "", "Any [setting](settings.md) is an option of every command.", "", *_commands()]
    settings = ["# Settings", "", *_settings(), "", "Allowed values:", "", *_allowed()]
    return {"commands.md": "\n".join(commands) + "\n", "settings.md": "\n".join(settings) + "\n"}


def _commands() -> Iterator[str]:
    for command in COMMANDS:
        yield f"`{usage.usage(command)}`  "
        yield f"{usage.sentence(command.help)} {_cell(command.more)}".rstrip()
        if arguments := [one for one in command.arguments if not one.positional]:
            yield ""
            yield from (f"- `{usage.option(one)}`: {_cell(one.help)}" for one in arguments)
        if command.outputs:
            yield from ([] if arguments else [""])
            yield f"- `-o {'|'.join(command.outputs)}`"
        yield ""
    yield from ("| exit code | meaning |", "|---|---|")
    yield from (f"| {code} | {_cell(meaning)} |" for code, meaning in EXIT_CODES)


def _settings() -> Iterator[str]:
    yield f"Settings can be given in `{settings.DEFAULT_FILE}` (TOML), in the environment as `DOCKERCNI_<KEY>`, or as"
    yield "flags of any command; the later of these wins. Unknown keys are errors. A change of those marked * needs a"
    yield "restart of the daemon; the others follow SIGHUP."
    yield ""
    yield from ("| setting | default | |", "|---|---|---|")
    for row in settings.TABLE:
        yield f"| `{row.key}`{' *' if row.fixed else ''} | `{row.default_text}` | {_cell(row.help)} |"


def _allowed() -> Iterator[str]:
    yield from ("| setting | allowed | environment |", "|---|---|---|")
    yield from (f"| `{row.key}` | {_cell(row.kind.allowed)} | `{row.variable}` |" for row in settings.TABLE)
    for name, row in settings.FORMER.items():
        values = "".join(f", with `{old}` for `{new}`" for old, new in row.former_values)
        yield ""
        yield f"The old name of `{row.key}`, `{name}`{values}, is read in this release, and refused by the next one."


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "\\<")
