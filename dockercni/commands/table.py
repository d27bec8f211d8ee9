"""The one table of commands, from which the parser, help, completion, man pages and docs/commands.md are made."""

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
    without a metavar is a switch; `bare` is the value of an option that is given without one. `parse` raises
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
        """Whether its place identifies it, rather than a name."""
        return not self.names[0].startswith("-")


@dataclass(frozen=True, slots=True)
class Command:
    """One command; `module` is imported only when the command runs, and has `run(invocation: Invocation) -> int`.

    A name of two words is a command of its own. `more` is what the manual says beyond `help`; `outputs` are the values
    of -o, empty where there is nothing to choose.
    """

    name: str
    help: str
    module: str
    arguments: tuple[Argument, ...] = ()
    outputs: tuple[Output, ...] = ()
    more: str = ""


@dataclass(frozen=True, slots=True)
class Invocation:
    """What a command's `run` gets; `args` has the command's own arguments only.

    `reload` reads the settings again from the same file, environment and flags. Raises SettingsError.
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
_CONTAINERS = Argument(("containers",), "names or ids (default: all)", "CONTAINER", nargs="*")
_ALL_CONTAINERS = Argument(("-a", "--all"), "also list running containers that get no network, with the reason")
_SOME = Argument(("containers",), "names or ids", "CONTAINER", nargs="+")
_NETNS = Argument(("netns",), "path of a network namespace, a container's or another", "NETNS", nargs="?")
_NETWORK = Argument(("--network",), "name of the network (default: the default network)", "NETWORK")
_IFNAME = Argument(("--ifname",), "name of the interface inside (default: the next free ethN)", "IFNAME")
_ONLY_NETWORK = Argument(("--network",), "only attachments to this network", "NETWORK")
_ONLY_IFNAME = Argument(("--ifname",), "only the attachment with this interface", "IFNAME")
_ARG = Argument(("--arg",), "a pair for CNI_ARGS; may be repeated", "KEY=VALUE", repeated=True, parse=key_value)
_PLUGIN = Argument(("plugin",), "type of the plugin, such as bridge", "PLUGIN")
_DRY_RUN = Argument(("--dry-run",), "only print what would be done; exit code 3 if there is something to do")
_WAIT = Argument(
    ("--wait",),
    "wait until converged, for this long at most (without a value: 1m); exit code 1 if not converged by then",
    "DURATION",
    "?",
    parse=seconds,
    bare=60.0,
)
_PROBE = Argument(("--probe",), "only say whether the daemon works, by exit code 0 or 1; the engine is not asked")
_DIRECTORY = Argument(("--directory",), "write all pages into this directory instead", "DIR", parse=Path)

_HERE = "dockercni.commands."
COMMANDS = (
    Command(
        "daemon",
        "watch the engine and attach its containers",
        _HERE + "daemon",
        more="Runs until SIGTERM or SIGINT. SIGHUP reads the settings again and reconciles every container; a broken "
        "settings file is logged and changes nothing. Each run directory has one daemon.",
    ),
    Command(
        "sync",
        "attach, detach and repair containers once",
        _HERE + "sync",
        (_CONTAINERS, _DRY_RUN),
        _ALL,
        more="Prints one line for each action, and a verdict. It is safe to run beside a daemon. Without arguments it "
        "covers everything that dockercni created. For a container that is named, it also restores what the container "
        "removed from its own network by CAP_NET_ADMIN. -o name prints the containers that were changed or have a "
        "problem.",
    ),
    Command(
        "add",
        "attach one container or namespace to one network",
        _HERE + "add",
        (_CONTAINER, _NETNS, _NETWORK, _IFNAME, _ARG),
        _JSON,
        more="With NETNS, CONTAINER is a name of your choice, and no engine is asked. -o json prints the CNI result.",
    ),
    Command(
        "del",
        "detach one container or namespace",
        _HERE + "delete",
        (_CONTAINER, _NETNS, _ONLY_NETWORK, _ONLY_IFNAME),
        more="Removes every attachment that is recorded for the container, or those that the options choose.",
    ),
    Command(
        "ps",
        "list the attachments of containers, and what is missing",
        _HERE + "ps",
        (_CONTAINERS, _ALL_CONTAINERS),
        _ALL,
        more="A running container that lacks a network has a row with the reason: failing (the daemon's last try "
        "failed, or no try can succeed) or waiting (not tried yet).",
    ),
    Command(
        "inspect",
        "show the networks of containers as JSON",
        _HERE + "inspect",
        (_SOME,),
        more="Prints an array shaped like that of docker inspect: NetworkSettings with its Networks, and for each of "
        "these, under CNI, the result of ADD, the network's file and the backend that served each plugin.",
    ),
    Command(
        "check",
        "check whether attachments are complete",
        _HERE + "check",
        (_CONTAINERS,),
        _JSON,
        more="Prints one line for each attachment; exit code 3 if something is missing. Container, host and firewall "
        "are compared with the result of ADD; plugins that dockercni does not know are asked by CNI CHECK. "
        "Configurations below version 0.4.0 have no CHECK, which is noted and is no error.",
    ),
    Command(
        "explain",
        "explain why a container has its networks, or none",
        _HERE + "explain",
        (_CONTAINER,),
        _JSON,
        more="Names the label, setting or file that decided, labels that were dropped because they come with the "
        "image, and what the next sync would do.",
    ),
    Command(
        "status",
        "show whether all containers have their networks",
        _HERE + "status",
        (_WAIT, _PROBE),
        _JSON,
        more="Exit code 3 if something is pending or failing, and 1 if the daemon does not work. --probe is for "
        "health checks: it reads only the daemon's lock and status file.",
    ),
    Command("networks", "list the network configurations", _HERE + "networks", (), _ALL),
    Command(
        "networks validate",
        "check network configurations before they are used",
        _HERE + "validate",
        (Argument(("files",), "configuration files", "FILE", nargs="+"),),
        _JSON,
        more="Parses each file as the daemon and its plugins would, asks the plugins which versions they support, and "
        "compares the file with the host: links, MTU, the DHCP daemon's socket. Prints one line for each problem, with "
        "file, line and column where they are known; exit code 1 if there is one.",
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
            Argument(("--default",), "make it the network of containers that name none"),
            Argument(("--force",), "overwrite the file if it exists"),
        ),
        more="Writes the built-in network as NN-NAME.conflist into the configuration directory, as a file to start "
        "from; no other command writes there. Subnet and bridge differ from those of other configurations, of Docker's "
        "networks, and of the host's routes and links. Where a default network exists, the new one becomes the default "
        "only with --default.",
    ),
    Command(
        "doctor",
        "find what keeps networks from working on this host",
        _HERE + "doctor",
        (),
        _JSON,
        more="Checks the engine, privileges, plugins, forwarding, firewall, cgroups, confinement, networks and "
        "records; changes nothing. Each problem comes with a fix. Exit code 1 if something fails.",
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
        "defaults commented out, and the directories; then enables and starts the service. Run it again after an "
        "upgrade of the program to restart the service; settings and running containers are not changed.",
    ),
    Command(
        "uninstall",
        "detach every container and remove what install created",
        _HERE + "uninstall",
        (Argument(("--keep",), "keep the networks of running containers, and their records"), _DRY_RUN),
        more="Stops the service and removes every attachment, then units, directories, state, and the settings file "
        "unless it was changed. Where a package installed the program, only the attachments are removed; the package "
        "manager removes the rest. Network configurations stay, and so does what another runtime uses through the "
        "dockercni executables or the reference plugins: each such thing is listed.",
    ),
    Command("version", "print the versions of dockercni, Python and the kernel", _HERE + "version", (), _JSON),
    Command(
        "completion",
        "print the completion script of a shell",
        _HERE + "completion",
        (Argument(("shell",), "the shell", "|".join(SHELLS), choices=SHELLS),),
        more="For bash: source <(dockercni completion bash). For zsh: save it as _dockercni in a directory of fpath. "
        "For fish: dockercni completion fish | source.",
    ),
    Command(
        "man",
        "print a manual page",
        _HERE + "man",
        (Argument(("topic",), "the command (default: dockercni itself)", "COMMAND", nargs="*"), _DIRECTORY),
        more="Prints roff; read it with: dockercni man sync | man -l -",
    ),
    Command(
        "gc",
        "remove what dockercni created and nothing uses any more",
        _HERE + "gc",
        (_DRY_RUN,),
        more="Does what sync does, then removes leases and firewall chains that no record explains, if they were "
        "created by dockercni; others are listed. Networks whose plugins know CNI's GC get that as well, unless "
        "something on them was not created by dockercni, as another runtime may use it. What the plugins would find is "
        "not known in advance, so a GC that --dry-run announces does not change its exit code.",
    ),
    Command(
        "plugin",
        "run one of dockercni's plugins as a CNI executable",
        _HERE + "plugin",
        (_PLUGIN,),
        more="Speaks the plain CNI protocol, so any runtime can use the plugins of this program: CNI_* in the "
        "environment, the configuration on standard input, the result on standard output.",
    ),
)

FAILED, DRIFT, SOME_FAILED = 1, 3, 4
EXIT_CODES = (
    (0, "converged or done"),
    (FAILED, "failed"),
    (2, "wrong usage or settings, unknown container or network"),
    (DRIFT, "drift: --dry-run or status found something to do, or check found something missing"),
    (SOME_FAILED, "some actions failed"),
    (75, "the engine is not reachable, or a lock is held; try again"),
    (77, "not root"),
    (130, "interrupted"),
)
