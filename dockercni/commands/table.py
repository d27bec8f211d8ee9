"""The one table of commands: the parser, help, completion and man pages are made from it."""

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from dockercni.settings import Settings

Output = Literal["table", "json"]


@dataclass(frozen=True, slots=True)
class Argument:
    """One argument of a command: an option if its names start with a dash.

    `metavar` also says what can be completed: CONTAINER, NETWORK. An option without a metavar is a switch.
    `parse` raises argparse.ArgumentTypeError.
    """

    names: tuple[str, ...]
    help: str
    metavar: str = ""
    nargs: Literal["?", "*"] | None = None
    repeated: bool = False
    parse: Callable[[str], object] | None = None

    @property
    def positional(self) -> bool:
        return not self.names[0].startswith("-")


@dataclass(frozen=True, slots=True)
class Command:
    """One command; `module` is imported only when the command runs, and has `run(request: Request) -> int`."""

    name: str
    help: str
    module: str
    arguments: tuple[Argument, ...] = ()
    output: bool = True  # whether -o/--output means anything to it


@dataclass(frozen=True, slots=True)
class Request:
    """What a command's `run` gets: `args` has the command's own arguments only."""

    settings: Settings
    args: argparse.Namespace
    output: Output


def key_value(text: str) -> tuple[str, str]:
    """Split KEY=VALUE as CNI_ARGS allows it: neither side may hold ";" or "="."""
    key, equals, value = text.partition("=")
    if not key or not equals or "=" in value or ";" in text:
        raise argparse.ArgumentTypeError(f"{text!r} is not KEY=VALUE without further '=' or ';'")
    return key, value


_CONTAINER = Argument(("container",), "name or id", "CONTAINER")
_CONTAINERS = Argument(("containers",), "names or ids; without any: all", "CONTAINER", nargs="*")
_NETNS = Argument(("netns",), "path of a namespace, which need not be a container's", "NETNS", nargs="?")
_NETWORK = Argument(("--network",), "name of the network; without it: the default network", "NETWORK")
_IFNAME = Argument(("--ifname",), "name of the interface inside; without it: eth0", "IFNAME")
_ARG = Argument(("--arg",), "a pair for CNI_ARGS; may be repeated", "KEY=VALUE", repeated=True, parse=key_value)
_PLUGIN = Argument(("plugin",), "type of the plugin, such as bridge", "PLUGIN")
_DRY_RUN = Argument(("--dry-run",), "print what would be done, do nothing; exit code 3 if there is something")

COMMANDS = (
    Command("daemon", "watch the engine and serve its containers", "dockercni.commands.daemon", output=False),
    Command("sync", "look at containers once and repair them", "dockercni.commands.sync", (_CONTAINERS, _DRY_RUN)),
    Command(
        "add",
        "attach one container or namespace to one network",
        "dockercni.commands.add",
        (_CONTAINER, _NETNS, _NETWORK, _IFNAME, _ARG),
    ),
    Command(
        "del",
        "take one attachment back",
        "dockercni.commands.delete",
        (_CONTAINER, _NETNS, _NETWORK, _IFNAME),
        output=False,
    ),
    Command("ps", "list the attachments of containers", "dockercni.commands.ps", (_CONTAINERS,)),
    Command("networks", "list the network configurations", "dockercni.commands.networks"),
    Command(
        "plugin",
        "be a CNI plugin: CNI_* in the environment, configuration on stdin",
        "dockercni.commands.plugin",
        (_PLUGIN,),
        output=False,
    ),
    Command("version", "print the versions of dockercni, Python and the kernel", "dockercni.commands.version"),
)

EXIT_CODES = (
    (0, "converged or done"),
    (1, "failed"),
    (2, "wrong usage or settings, unknown container or network"),
    (3, "something would have to be done (--dry-run)"),
    (4, "some of it failed"),
    (75, "the engine is not reachable, or a lock is held; try again"),
    (77, "not root"),
    (130, "interrupted"),
)
