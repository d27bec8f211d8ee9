"""`dockercni completion bash|zsh|fish`: the completion script of a shell; needs neither root nor an engine."""

from importlib import import_module

from dockercni import render
from dockercni.commands.table import Invocation


def run(invocation: Invocation) -> int:
    """Print the script, made from the table of commands."""
    render.text(import_module(f"dockercni.commands.manual.{invocation.args.shell}").script())
    return 0
