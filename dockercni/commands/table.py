"""The one table of commands: the parser, help, completion, man pages and docs/ are made from it."""

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from dockercni import durations
from dockercni.settings import Settings

Output = Literal["table", "json", "wide", "name"]

_JSON: tuple[Output, ...] = ("table", "json")
_ALL: tuple[Output, ...] = ("table", "wide", "name", "json")


@dataclass(frozen=True, slots=True)
class Argument:
    """One argument of a command: an option if its names start with a dash.

    `metavar` also says what can be completed: CONTAINER, NETWORK, FILE, DIR, COMMAND, or the `choices`. An option
    without a metavar is a switch; one with `bare` may stand without a value, and then means that one. `parse` raises
    argparse.ArgumentTypeError or ValueError.
    """

    names: tuple[str, ...]
    help: str
    metavar: str = ""
    nargs: Literal["?", "*", "+"] | None = None
    repeated: bool = False
    parse: Callable[[str], object] | None = None
    choices: tuple[str, ...] = ()
    bare: object = None

    @property
    def positional(self) -> bool:
        """Whether it is told by its place."""
        return not self.names[0].startswith("-")


@dataclass(frozen=True, slots=True)
class Command:
    """One command; `module` is imported only when the command runs, and has `run(request: Request) -> int`.

    A name of two words is a command of its own. `more` is what the manual says beyond `help`; `outputs` are the values
    of -o, none where there is nothing to choose.
    """

    name: str
    help: str
    module: str
    arguments: tuple[Argument, ...] = ()
    outputs: tuple[Output, ...] = ()
    more: str = ""


@dataclass(frozen=True, slots=True)
class Request:
    """What a command's `run` gets: `args` has the command's own arguments only.

    `reload` reads the settings again from where they came from; it raises SettingsError.
    """

    settings: Settings
    args: argparse.Namespace
    output: Output
    reload: Callable[[], Settings]


def key_value(text: str) -> tuple[str, str]:
    """Split KEY=VALUE as CNI_ARGS allows it: neither side may hold ";" or "="."""
    key, equals, value = text.partition("=")
    if not key or not equals or "=" in value or ";" in text:
        raise argparse.ArgumentTypeError(f"{text!r} is not KEY=VALUE without further '=' or ';'")
    return key, value


def seconds(text: str) -> float:
    """Read a duration as settings spell it."""
    try:
        return durations.seconds(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a duration with its unit, such as 10s or 5m") from None


SHELLS = ("bash", "zsh", "fish")

_CONTAINER = Argument(("container",), "name or id", "CONTAINER")
_CONTAINERS = Argument(("containers",), "names or ids; without any: all", "CONTAINER", nargs="*")
_ALL_CONTAINERS = Argument(("-a", "--all"), "also running containers that are to have no network, and why")
_SOME = Argument(("containers",), "names or ids", "CONTAINER", nargs="+")
_NETNS = Argument(("netns",), "path of a namespace, which need not be a container's", "NETNS", nargs="?")
_NETWORK = Argument(("--network",), "name of the network; without it: the default network", "NETWORK")
_IFNAME = Argument(("--ifname",), "name of the interface inside; without it: the next free ethN", "IFNAME")
_ONLY_NETWORK = Argument(("--network",), "only attachments to this network", "NETWORK")
_ONLY_IFNAME = Argument(("--ifname",), "only the attachment with this interface", "IFNAME")
_ARG = Argument(("--arg",), "a pair for CNI_ARGS; may be repeated", "KEY=VALUE", repeated=True, parse=key_value)
_PLUGIN = Argument(("plugin",), "type of the plugin, such as bridge", "PLUGIN")
_DRY_RUN = Argument(("--dry-run",), "print what would be done, do nothing; exit code 3 if there is something")
_WAIT = Argument(
    ("--wait",),
    "wait until converged, at most so long (bare: 1m); exit code 1 if not",
    "DURATION",
    "?",
    parse=seconds,
    bare=60.0,
)
_PROBE = Argument(("--probe",), "only whether a daemon lives: exit code 0 or 1, no question to the engine")
_DIRECTORY = Argument(("--directory",), "write all pages into this directory instead", "DIR", parse=Path)

_HERE = "dockercni.commands."
COMMANDS = (
    Command(
        "daemon",
        "watch the engine and serve its containers",
        _HERE + "daemon",
        more="Runs until SIGTERM or SIGINT. SIGHUP reads the settings again and looks at every container; a settings "
        "file that is broken changes nothing and is logged. There is one daemon for each run directory.",
    ),
    Command(
        "sync",
        "look at containers once and repair them",
        _HERE + "sync",
        (_CONTAINERS, _DRY_RUN),
        _ALL,
        more="Prints one line for each action and a verdict. Safe beside a running daemon. Without arguments all that "
        "is ours is looked at. A container that is named gets back, too, what it took from its own network itself, "
        "having CAP_NET_ADMIN. -o name prints the containers that something was done to or is wrong with.",
    ),
    Command(
        "add",
        "attach one container or namespace to one network",
        _HERE + "add",
        (_CONTAINER, _NETNS, _NETWORK, _IFNAME, _ARG),
        _JSON,
        more="With NETNS the name is free to choose and no engine is asked. -o json prints the CNI result.",
    ),
    Command(
        "del",
        "take attachments back",
        _HERE + "delete",
        (_CONTAINER, _NETNS, _ONLY_NETWORK, _ONLY_IFNAME),
        more="Takes back all that is recorded for the container, or what the options choose.",
    ),
    Command(
        "ps",
        "list the attachments of containers, and what is missing",
        _HERE + "ps",
        (_CONTAINERS, _ALL_CONTAINERS),
        _ALL,
        more="A running container that does not have what it should has a row with the reason: failing (the daemon's "
        "last try failed, or there can be none) or waiting (nobody has tried yet).",
    ),
    Command(
        "inspect",
        "show the networks of containers as JSON",
        _HERE + "inspect",
        (_SOME,),
        more="Prints an array shaped like that of docker inspect: NetworkSettings with its Networks, and for each of "
        "these, under CNI, the result of ADD, the network's file and which engine served each plugin.",
    ),
    Command(
        "check",
        "say which attachments are whole",
        _HERE + "check",
        (_CONTAINERS,),
        _JSON,
        more="Prints one line for each attachment; exit code 3 if something is missing. What the container, the host "
        "and the firewall show is compared with what ADD gave; plugins whose traces are not known are asked by CNI "
        "CHECK. Configurations below version 0.4.0 have none, which is said and is no error.",
    ),
    Command(
        "explain",
        "say why a container has its networks, or none",
        _HERE + "explain",
        (_CONTAINER,),
        _JSON,
        more="Names the label, setting or file that decided, labels that were dropped because they come with the "
        "image, and what the next sync would do.",
    ),
    Command(
        "status",
        "say whether all containers have their networks",
        _HERE + "status",
        (_WAIT, _PROBE),
        _JSON,
        more="Exit code 3 if something is pending or failing, and 1 if the daemon does not run. --probe is for health "
        "checks: it looks at the daemon's lock and heartbeat only.",
    ),
    Command("networks", "list the network configurations", _HERE + "networks", (), _ALL),
    Command(
        "networks validate",
        "check network configurations before they are used",
        _HERE + "validate",
        (Argument(("files",), "configuration files", "FILE", nargs="+"),),
        _JSON,
        more="Parses each file as the daemon and its plugins would, asks the plugins which versions they support, and "
        "compares what the file says with the host: links, MTU, the DHCP daemon's socket. One line for each problem, "
        "with file, line and column where they are known; exit code 1 if there is one.",
    ),
    Command(
        "networks init",
        "write a network configuration",
        _HERE + "init",
        (
            Argument(("--name",), "name of the network (default: dockercni)", "NAME"),
            Argument(
                ("--subnet",),
                "its subnet, twice for IPv4 and IPv6 (default: the first private IPv4 one that is free)",
                "CIDR",
                repeated=True,
            ),
            Argument(("--default",), "let containers that name no network have this one"),
            Argument(("--force",), "overwrite the file if it is there"),
        ),
        more="Writes the built-in network as NN-NAME.conflist into the configuration directory, as a file to start "
        "from. Subnet and bridge are free of other configurations, of Docker's networks, and of the host's routes and "
        "links. While there is a default network the new one is none, unless --default is given. Nothing else that "
        "dockercni does writes there.",
    ),
    Command(
        "doctor",
        "look for what keeps networks from working here",
        _HERE + "doctor",
        (),
        _JSON,
        more="Looks at the engine, rights, plugins, forwarding, firewall, cgroups, confinement, networks and records; "
        "changes nothing. Each finding comes with what mends it. Exit code 1 if something fails.",
    ),
    Command(
        "settings",
        "print each setting's value and where it came from",
        _HERE + "settings",
        (Argument(("--example",), "a settings file with every default, commented out, instead"),),
        _JSON,
    ),
    Command(
        "install",
        "make this program a service of systemd",
        _HERE + "install",
        (Argument(("--timer",), "no daemon: sync twice a minute, and when the firewall is reloaded"), _DRY_RUN),
        more="For hosts without a package: writes the units with the path of this program, the settings file with its "
        "defaults commented out, and the directories; then enables and starts the service. Again after an upgrade of "
        "the program, which restarts it; settings stay, and running containers are not touched.",
    ),
    Command(
        "uninstall",
        "give back every network, and take away what install made",
        _HERE + "uninstall",
        (Argument(("--keep",), "leave running containers their networks, and the records that say so"), _DRY_RUN),
        more="Stops the service, takes back every attachment, then removes units, directories, state, and the settings "
        "file unless it was changed. Where a package installed the program only the networks are given back: the rest "
        "goes with the package. Network configurations stay, and so does what another runtime uses by our executables "
        "or by the reference plugins: each such thing is named.",
    ),
    Command("version", "print the versions of dockercni, Python and the kernel", _HERE + "version", (), _JSON),
    Command(
        "completion",
        "print the completion script of a shell",
        _HERE + "completion",
        (Argument(("shell",), "the shell", "|".join(SHELLS), choices=SHELLS),),
        more="For bash: source <(dockercni completion bash). For zsh: put it as _dockercni into a directory of fpath. "
        "For fish: dockercni completion fish | source.",
    ),
    Command(
        "man",
        "print a manual page",
        _HERE + "man",
        (Argument(("topic",), "the command; without one: dockercni itself", "COMMAND", nargs="*"), _DIRECTORY),
        more="Prints roff, to be read with: dockercni man sync | man -l -",
    ),
    Command(
        "gc",
        "remove what is provably ours and has no owner",
        _HERE + "gc",
        (_DRY_RUN,),
        more="Does what sync does: leases and firewall chains that no record explains are removed if they are provably "
        "of dockercni's making, the others named. Networks that know CNI's GC get it, too, unless anything is on them "
        "that is not provably ours: it may be another runtime's. What the plugins would find is not known before: a GC "
        "that --dry-run announces does not change its exit code.",
    ),
    Command(
        "plugin",
        "be a CNI plugin",
        _HERE + "plugin",
        (_PLUGIN,),
        more="Speaks the plain CNI protocol, so that any runtime can use the plugins of this program: CNI_* in the "
        "environment, the configuration on standard input, the result on standard output.",
    ),
)

EXIT_CODES = (
    (0, "converged or done"),
    (1, "failed"),
    (2, "wrong usage or settings, unknown container or network"),
    (3, "something would have to be done (--dry-run, status), or a check complains"),
    (4, "some of it failed"),
    (75, "the engine is not reachable, or a lock is held; try again"),
    (77, "not root"),
    (130, "interrupted"),
)
