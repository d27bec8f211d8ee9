"""dockercni.cli: from the command line to a command's invocation, and from its end to an exit code."""

import json
import os
import subprocess
import sys
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from dockercni import __main__ as program
from dockercni import __version__, errors, settings
from dockercni.cli import main
from dockercni.commands.table import COMMANDS, EXIT_CODES, Invocation


@pytest.fixture(autouse=True)
def _bare_host(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No settings of the machine that runs the tests play a part."""
    monkeypatch.setattr(settings, "DEFAULT_FILE", tmp_path / "default.toml")
    for name in [name for name in os.environ if name.startswith("DOCKERCNI_")]:
        monkeypatch.delenv(name)


@pytest.fixture
def invocations(monkeypatch: pytest.MonkeyPatch) -> list[Invocation]:
    """Every command only records its invocation."""
    seen: list[Invocation] = []

    def run(invocation: Invocation) -> int:
        seen.append(invocation)
        return 0

    for command in COMMANDS:
        monkeypatch.setitem(sys.modules, command.module, SimpleNamespace(run=run))
    return seen


@pytest.fixture
def ends(monkeypatch: pytest.MonkeyPatch) -> Callable[[BaseException | int], None]:
    """Let the command `version` end with an exception or an exit code."""

    def set_end(end: BaseException | int) -> None:
        def run(_invocation: Invocation) -> int:
            if isinstance(end, BaseException):
                raise end
            return end

        monkeypatch.setitem(sys.modules, "dockercni.commands.version", SimpleNamespace(run=run))

    return set_end


ARGUMENTS = [
    ("daemon", {}),
    ("sync", {"containers": [], "dry_run": False}),
    ("sync --dry-run web db", {"containers": ["web", "db"], "dry_run": True}),
    ("sync web --dry-run db", {"containers": ["web", "db"], "dry_run": True}),
    ("add web", {"container": "web", "netns": None, "network": None, "ifname": None, "arg": []}),
    (
        "add web --network lan /run/netns/x --ifname eth1 --arg A=1 --arg B=",
        {
            "container": "web",
            "netns": "/run/netns/x",
            "network": "lan",
            "ifname": "eth1",
            "arg": [("A", "1"), ("B", "")],
        },
    ),
    ("del web --ifname eth1", {"container": "web", "netns": None, "network": None, "ifname": "eth1"}),
    ("ps", {"containers": [], "all": False}),
    ("ps -a web", {"containers": ["web"], "all": True}),
    ("networks", {}),
    ("networks validate a.conf --workers 2 b.conf", {"files": ["a.conf", "b.conf"]}),
    ("networks init", {"name": None, "subnet": [], "default": False, "force": False}),
    ("networks init --name lan --force", {"name": "lan", "subnet": [], "default": False, "force": True}),
    ("inspect web db", {"containers": ["web", "db"]}),
    ("status", {"wait": None, "probe": False}),
    ("status --wait", {"wait": 60.0, "probe": False}),
    ("status --wait --probe", {"wait": 60.0, "probe": True}),
    ("status --wait=500ms", {"wait": 0.5, "probe": False}),
    ("man networks validate", {"topic": ["networks", "validate"], "directory": None}),
    ("completion bash", {"shell": "bash"}),
    ("version", {}),
]


@pytest.mark.parametrize(("line", "args"), ARGUMENTS)
def test_a_command_gets_its_own_arguments(invocations: list[Invocation], line: str, args: dict[str, object]) -> None:
    """Arguments and options may be mixed, and what was left out has a value of the same shape."""
    assert main(line.split()) == 0
    assert invocations[0].args == Namespace(**args)


SETTINGS_FLAGS = [
    ("--workers 3 ps", "workers", 3),
    ("ps --workers 3", "workers", 3),
    ("--workers 2 ps --workers 3", "workers", 3),
    ("ps --workers=3 web", "workers", 3),
    ("--attach-running ps", "attach_running", True),
    ("ps --attach-running web", "attach_running", True),
    ("ps --attach-running=no", "attach_running", False),
    ("--trust-image-labels=true ps", "trust_image_labels", True),
    ("--cni-conf-dir /x ps", "cni_conf_dir", Path("/x")),
]


@pytest.mark.parametrize(("line", "attribute", "value"), SETTINGS_FLAGS)
def test_settings_flags_stand_before_or_after_the_command(
    invocations: list[Invocation], line: str, attribute: str, value: object
) -> None:
    """A setting's flag means the same on both sides of the command; the later one wins; a switch takes no word."""
    assert main(line.split()) == 0
    assert getattr(invocations[0].settings, attribute) == value
    assert invocations[0].settings.origins[attribute.replace("_", "-")] == f"flag --{attribute.replace('_', '-')}"
    assert sorted(vars(invocations[0].args)) == ["all", "containers"]


@pytest.mark.parametrize(
    ("path", "completed"),
    [
        ("/usr/bin:/bin", "/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin"),
        ("/usr/sbin:/mine", "/usr/sbin:/mine:/usr/local/sbin:/sbin"),
    ],
)
def test_where_programs_are_looked_for(path: str, completed: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """iptables and nft are found where the system keeps them, though cron and `su` leave that out of PATH."""
    monkeypatch.setenv("PATH", path)
    monkeypatch.setattr(sys, "argv", ["dockercni", "version"])
    program.main()
    assert os.environ["PATH"] == completed


@pytest.mark.parametrize(("line", "output"), [("ps", "table"), ("ps -o json", "json"), ("--output json ps", "json")])
def test_output_is_chosen_on_either_side(invocations: list[Invocation], line: str, output: str) -> None:
    """-o stands before or after the command, and without it a table is printed."""
    assert main(line.split()) == 0
    assert invocations[0].output == output


def test_the_settings_file_is_the_flags_or_the_variables(
    invocations: list[Invocation], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """--settings names the file, DOCKERCNI_SETTINGS does without it, and the default serves without both."""
    for name, count in (("default", 2), ("variable", 3), ("flag", 4)):
        (tmp_path / f"{name}.toml").write_text(f"workers = {count}")
    main(["ps"])
    monkeypatch.setenv("DOCKERCNI_SETTINGS", str(tmp_path / "variable.toml"))
    main(["ps"])
    main(["--settings", str(tmp_path / "flag.toml"), "ps"])
    main(["ps", "--settings", str(tmp_path / "flag.toml")])
    assert [invocation.settings.workers for invocation in invocations] == [2, 3, 4, 4]


def test_the_environment_reaches_the_settings(invocations: list[Invocation], monkeypatch: pytest.MonkeyPatch) -> None:
    """DOCKERCNI_ variables of the process are settings."""
    monkeypatch.setenv("DOCKERCNI_WORKERS", "5")
    main(["ps"])
    assert invocations[0].settings.workers == 5


def test_the_settings_can_be_read_again(invocations: list[Invocation], tmp_path: Path) -> None:
    """A command that runs on can ask for the settings as they are now, from the same file, environment and flags."""
    file = tmp_path / "some.toml"
    file.write_text("workers = 2")
    main(["--settings", str(file), "--attach=labelled", "daemon"])
    file.write_text("workers = 3")
    again = invocations[0].reload()
    assert (invocations[0].settings.workers, again.workers, again.attach) == (2, 3, "labelled")
    file.write_text("workers = 0")
    with pytest.raises(errors.SettingsError):
        invocations[0].reload()


WRONG_LINES = [
    ("snyc", "unknown command 'snyc'; did you mean sync?"),
    ("networks vlidate x", "networks has no 'vlidate'; did you mean validate? (known: validate, init)"),
    ("networks validate", "the following arguments are required: FILE (see 'dockercni networks validate --help')"),
    ("inspect", "the following arguments are required: CONTAINER"),
    ("completion tcsh", "argument bash|zsh|fish: invalid choice: 'tcsh'"),
    ("status --wait=soon", "argument --wait: 'soon' is not a duration with its unit"),
    ("check -o wide", "check cannot print wide"),
    ("version extra", "unrecognized arguments: extra (see 'dockercni version --help')"),
    ("version --wrokers 3", "unrecognized arguments: --wrokers 3"),
    ("version --work 3", "unrecognized arguments: --work 3"),
    ("--dry-run sync", "unrecognized arguments: --dry-run"),
    ("add", "the following arguments are required: CONTAINER (see 'dockercni add --help')"),
    ("add web --arg novalue", "argument --arg: 'novalue' is not KEY=VALUE"),
    ("add web --arg =x", "argument --arg: '=x' is not KEY=VALUE"),
    ("add web --arg A=1;B=2", "argument --arg: 'A=1;B=2' is not KEY=VALUE"),
    ("ps -o yaml", "argument -o/--output: invalid choice: 'yaml'"),
    ("daemon -o json", "daemon cannot print json"),
    ("-o json del web", "del cannot print json"),
    ("ps --workers", "argument --workers: expected one argument"),
    ("ps --workers 0", "flag --workers = '0': must be a whole number from 1 to 256"),
    ("ps --attach-running=maybe", "flag --attach-running = 'maybe': must be true or false"),
    ("ps --settings /nowhere/x.toml", "/nowhere/x.toml: there is no such settings file"),
]


@pytest.mark.parametrize(("line", "message"), WRONG_LINES)
def test_a_wrong_line_is_one_line_and_runs_nothing(
    invocations: list[Invocation], capsys: pytest.CaptureFixture[str], line: str, message: str
) -> None:
    """Wrong usage is exit code 2 and one line on stderr, and no command has run."""
    assert main(line.split()) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith(f"dockercni: {message}")
    assert captured.err.count("\n") == 1
    assert captured.out == ""
    assert invocations == []


def test_no_command_is_answered_with_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    """Without a command the help goes to stderr, with the exit code of wrong usage."""
    assert main([]) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("usage: dockercni [OPTION...] COMMAND")
    assert captured.out == ""


def test_help_lists_commands_settings_and_exit_codes(capsys: pytest.CaptureFixture[str]) -> None:
    """The help names everything that the tables hold."""
    assert main(["--help"]) == 0
    out = capsys.readouterr().out
    wanted = [f"  {command.name:<19}{command.help}" for command in COMMANDS]
    wanted += [f"  {setting.flag} " for setting in settings.TABLE]
    wanted += [f"  {code:<5}{meaning}" for code, meaning in EXIT_CODES]
    assert [text for text in wanted if text not in out] == []
    assert "\nsettings:\n" in out


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_every_command_has_its_help(capsys: pytest.CaptureFixture[str], command: object) -> None:
    """The help of a command shows its arguments, and the settings as a group of their own."""
    assert isinstance(command, type(COMMANDS[0]))
    assert main([command.name, "--help"]) == 0
    out = capsys.readouterr().out
    assert out.startswith(f"usage: dockercni {command.name} [OPTION...]")
    assert [argument.help for argument in command.arguments if argument.help[:20] not in out] == []
    assert ("--output" in out) == bool(command.outputs)
    assert "\nsettings:\n" in out


ERRORS = [
    (errors.DockercniError("x"), 1, False),
    (errors.UsageError("x"), 2, False),
    (errors.SettingsError("x"), 2, False),
    (errors.UnknownContainer("x"), 2, False),
    (errors.UnknownNetwork("x"), 2, True),
    (errors.EngineUnavailable("x"), 75, True),
    (errors.EngineRefused("x"), 1, False),
    (errors.NotRoot("x"), 77, False),
]


@pytest.mark.parametrize(("error", "code", "retry"), ERRORS, ids=lambda value: type(value).__name__)
def test_errors_end_with_their_code(
    ends: Callable[[BaseException | int], None],
    capsys: pytest.CaptureFixture[str],
    error: errors.DockercniError,
    code: int,
    retry: bool,
) -> None:
    """An error of ours is one line on stderr, its own exit code, and says whether trying again may help."""
    ends(error)
    assert main(["version"]) == code
    assert capsys.readouterr().err == "dockercni: x\n"
    assert bool(error.retry) is retry


SPOKEN = [
    (errors.LockHeld("/run/dockercni/daemon.lock", "pid 12"), 75, "/run/dockercni/daemon.lock is held by pid 12", True),
    (
        errors.LabelError("dockercni.ip", "10.0.0.300", "not an address"),
        1,
        "label dockercni.ip=10.0.0.300: not an address",
        False,
    ),
]


@pytest.mark.parametrize(("error", "code", "message", "retry"), SPOKEN, ids=lambda value: type(value).__name__)
def test_errors_with_parts_say_them(
    ends: Callable[[BaseException | int], None],
    capsys: pytest.CaptureFixture[str],
    error: errors.DockercniError,
    code: int,
    message: str,
    retry: bool,
) -> None:
    """A held lock says by whom; a bad label says its name, its value and what is wrong."""
    ends(error)
    assert main(["version"]) == code
    assert capsys.readouterr().err == f"dockercni: {message}\n"
    assert bool(error.retry) is retry


@pytest.mark.parametrize("code", [0, 3, 4])
def test_the_commands_exit_code_is_ours(ends: Callable[[BaseException | int], None], code: int) -> None:
    """What a command returns is what the program ends with."""
    ends(code)
    assert main(["version"]) == code


def test_an_interrupt_is_quiet(ends: Callable[[BaseException | int], None], capsys: pytest.CaptureFixture[str]) -> None:
    """Ctrl-C ends with 130 and without a traceback."""
    ends(KeyboardInterrupt())
    assert main(["version"]) == 130
    assert capsys.readouterr().err == ""


def test_unexpected_exceptions_are_not_swallowed(ends: Callable[[BaseException | int], None]) -> None:
    """A defect shows its traceback."""
    ends(ZeroDivisionError("defect"))
    with pytest.raises(ZeroDivisionError):
        main(["version"])


def test_version_prints_what_a_bug_report_needs(capsys: pytest.CaptureFixture[str]) -> None:
    """The versions of dockercni, Python and the kernel are printed, as lines or as an object."""
    kernel = Path("/proc/sys/kernel/osrelease").read_text().strip()
    python = sys.version.split()[0]
    assert main(["version"]) == 0
    assert capsys.readouterr().out == f"dockercni {__version__}\npython {python}\nkernel {kernel}\n"
    assert main(["version", "-o", "json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed == {"schema": 1, "dockercni": __version__, "python": python, "kernel": kernel}


def _python(*args: str, stdout: int = subprocess.PIPE) -> "subprocess.CompletedProcess[str]":
    environ = {name: value for name, value in os.environ.items() if not name.startswith("DOCKERCNI_")}
    return subprocess.run(
        [sys.executable, *args], env=environ, stdout=stdout, stderr=subprocess.PIPE, text=True, check=False
    )


def test_the_module_runs_and_passes_the_code_on() -> None:
    """`python -m dockercni` is the program, exit code included."""
    assert _python("-m", "dockercni", "snyc").returncode == 2


def test_a_reader_that_went_away_is_quiet() -> None:
    """`dockercni version | true` prints no complaint."""
    reader, writer = os.pipe()
    os.close(reader)
    ended = _python("-m", "dockercni", "version", stdout=writer)
    os.close(writer)
    assert ended.stderr == ""
    assert ended.returncode == 141


HEAVY = ("docker", "msgspec", "pyroute2", "invocations", "structlog", "tomllib", "json", "logging", "subprocess")


def _imported(line: str, *modules: str) -> str:
    found = f"[m for m in {modules} if m in sys.modules]"
    code = f"import sys; from dockercni.cli import main; main({line.split()}); print(); print({found})"
    ended = _python("-c", code)
    assert "Traceback" not in ended.stderr, ended.stderr
    return ended.stdout.splitlines()[-1]


@pytest.mark.parametrize("line", ["--help", "sync --help", "version", "settings", "completion bash", "man sync"])
def test_help_imports_nothing_heavy(line: str) -> None:
    """--help and the like start quickly: neither our dependencies nor big parts of the library are loaded for them."""
    assert _imported(line, *HEAVY) == "[]"


def test_a_probe_does_not_load_the_engines_client(tmp_path: Path) -> None:
    """A health check runs every few seconds: it loads neither the docker SDK nor netlink."""
    assert (
        _imported(
            f"status --probe --run-dir={tmp_path}",
            "docker",
            "invocations",
            "pyroute2",
            "structlog",
            "dockercni.cni.conf",
            "tempfile",
        )
        == "[]"
    )
