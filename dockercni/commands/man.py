"""`dockercni man [COMMAND]`: manual pages, made from the table of commands; needs neither root nor an engine."""

from dockercni import render
from dockercni.commands.manual import roff
from dockercni.commands.table import COMMANDS, Invocation
from dockercni.errors import DockercniError, UsageError
from dockercni.settings import nearest


class NotWritten(DockercniError):
    """A page could not be written."""


def run(invocation: Invocation) -> int:
    """Print one page, or write all of them into a directory and print their paths."""
    name = " ".join(invocation.args.topic)
    if directory := invocation.args.directory:
        try:
            directory.mkdir(parents=True, exist_ok=True)
            for file, page in roff.pages().items():
                (directory / file).write_text(page, encoding="utf-8")
                render.line(str(directory / file))
        except OSError as error:
            raise NotWritten(f"cannot write {error.filename}: {error.strerror}") from error
        return 0
    if not name:
        render.text(roff.main())
        return 0
    by_name = {command.name: command for command in COMMANDS}
    if name not in by_name:
        raise UsageError(f"there is no command {name!r}{nearest(name, by_name)}")
    render.text(roff.page(by_name[name]))
    return 0
