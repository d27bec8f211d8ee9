"""dockercni install and uninstall: what they would do, and the doing of single steps."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from dockercni import settings
from dockercni.cli import main
from dockercni.commands.manual import toml
from dockercni.commands.setup import effects, plan
from dockercni.commands.setup.effects import StepFailed
from dockercni.commands.setup.plan import Found, Note, Remove, Run, Write

BARE = Found(frozenset(), None, systemd=True, packaged=False)
FILES = {"dockercni.service": "ExecStart=/usr/bin/dockercni daemon\n", "dockercni.tmpfiles": "d /run/dockercni\n"}
PROGRAM = Path("/opt/dockercni/bin/dockercni")
STATE, RUN = Path("/var/lib/dockercni"), Path("/run/dockercni")


def install(found: Found, *, timer: bool = False) -> list[plan.InstallStep]:
    """The steps on a host where that was found."""
    return list(plan.install(found, PROGRAM, FILES, "#example\n", timer=timer))


def test_units_start_the_program_that_installs_them() -> None:
    """Units have the path of this program in place of the packages', and each file its place."""
    assert install(BARE)[:3] == [
        Write(plan.UNITS / "dockercni.service", f"ExecStart={PROGRAM} daemon\n"),
        Write(plan.TMPFILES, "d /run/dockercni\n"),
        Write(settings.DEFAULT_FILE, "#example\n"),
    ]


def test_the_service_is_enabled_and_started_last() -> None:
    """The daemon, or with --timer what serves in its place; never both."""
    assert [step.argv[1:] for step in install(BARE)[-3:] if isinstance(step, Run)] == [
        ("disable", "--now", "dockercni-sync.timer", "dockercni-firewall.service"),
        ("enable", "dockercni.service"),
        ("restart", "dockercni.service"),
    ]
    assert install(BARE, timer=True)[-1] == Run(
        ("systemctl", "restart", "dockercni-sync.timer", "dockercni-firewall.service")
    )


def test_settings_that_are_there_stay() -> None:
    """A second install, after an upgrade of the program, writes everything but the settings."""
    steps = install(Found(frozenset(FILES), "workers = 3\n", systemd=True, packaged=False))
    assert [step.path for step in steps if isinstance(step, Write)] == [
        plan.UNITS / "dockercni.service",
        plan.TMPFILES,
    ]


def test_without_systemd_nothing_is_started() -> None:
    """In an image that is being built the service is enabled, and starts with the next boot."""
    steps = install(Found(frozenset(), None, systemd=False, packaged=False))
    assert [step.argv for step in steps if isinstance(step, Run)] == [("systemctl", "enable", "dockercni.service")]
    assert isinstance(steps[-1], Note)


@pytest.mark.parametrize(("written", "removed"), [("#example\n", True), ("workers = 3\n", False), (None, False)])
def test_settings_go_only_as_they_came(written: str | None, removed: bool) -> None:
    """A settings file that somebody changed is left, and named."""
    found = Found(frozenset({"dockercni.service"}), written, systemd=True, packaged=False)
    steps = list(plan.remove(found, "#example\n", STATE, RUN, keep=False))
    assert (Remove(settings.DEFAULT_FILE) in steps) is removed
    assert any(isinstance(step, Note) for step in steps) is (written == "workers = 3\n")
    assert Remove(plan.UNITS / "dockercni.service") in steps
    assert steps[-2:] == [Remove(STATE), Remove(RUN)]


def test_keep_keeps_what_running_containers_need() -> None:
    """State and records are what the next install goes on with."""
    steps = list(plan.remove(BARE, "", STATE, RUN, keep=True))
    assert not {Remove(STATE), Remove(RUN)} & set(steps)


def test_what_a_package_installed_is_left_to_it() -> None:
    """The service is stopped and the state removed; the package's files are not touched."""
    found = Found(frozenset(), "#example\n", systemd=True, packaged=True)
    assert list(plan.stop(found, FILES)) == [Run(("systemctl", "disable", "--now", "dockercni.service"))]
    steps = list(plan.remove(found, "#example\n", STATE, RUN, keep=False))
    assert [step.path for step in steps if isinstance(step, Remove)] == [STATE, RUN]


def test_nothing_is_stopped_where_nothing_is_installed() -> None:
    """In a sidecar there is no service manager to ask."""
    assert list(plan.stop(BARE, FILES)) == []


def test_every_unit_of_the_program_is_known() -> None:
    """The units that install enables are among those that it writes."""
    assert set(plan.DAEMON + plan.TIMER) <= set(effects.files())
    assert any("/usr/bin/dockercni daemon" in text for text in effects.files().values())


def test_steps_are_done(tmp_path: Path) -> None:
    """Files are written with their directories, and removed; so are directories, whole or only if empty."""
    file = tmp_path / "etc" / "unit"
    effects.do(Write(file, "text"))
    effects.do(Write(file, "newer"))
    assert (file.read_text(), file.stat().st_mode & 0o777) == ("newer", 0o644)
    effects.do(Remove(file.parent, empty=True))
    assert file.exists()
    (file.parent / "sub").mkdir()
    effects.do(Remove(file.parent))
    effects.do(Remove(file))
    assert list(tmp_path.iterdir()) == []


def test_a_failing_step_is_one_line(tmp_path: Path) -> None:
    """What cannot be done is said with its reason: a command's own words, or the system's."""
    with pytest.raises(StepFailed, match="exit code 3: oh no"):
        effects.do(Run(("sh", "-c", "echo oh no >&2; exit 3")))
    with pytest.raises(StepFailed, match="there is no nosuchprogram"):
        effects.do(Run(("nosuchprogram",)))
    (tmp_path / "file").touch()
    with pytest.raises(StepFailed, match=r"cannot write .*/file/unit"):
        effects.do(Write(tmp_path / "file" / "unit", ""))


def test_a_dry_run_does_nothing(tmp_path: Path) -> None:
    """Each step is said with would; notes as they are."""
    steps = iter([Write(tmp_path / "a", ""), Note("keep b")])
    assert list(effects.done(steps, dry_run=True)) == [f"would write {tmp_path / 'a'}", "keep b"]
    assert not (tmp_path / "a").exists()


def test_the_example_has_every_setting(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As it is it changes nothing; with each # before a key taken away it spells the defaults."""
    assert main(["settings", "--example"]) == 0
    text = capsys.readouterr().out
    assert text == toml.example()
    assert tomllib.loads(text) == {}
    spelled = "\n".join(line.removeprefix("#") for line in text.splitlines() if not line.startswith("# "))
    assert tomllib.loads(spelled) == {row.key: row.default for row in settings.TABLE}
    file = tmp_path / "all.toml"
    file.write_text(spelled)
    assert settings.load({}, {}, file) == settings.load({}, {}, settings.DEFAULT_FILE)
