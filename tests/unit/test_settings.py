"""dockercni.settings: where values come from, and what is said about wrong ones."""

import dataclasses
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dockercni import settings
from dockercni.errors import SettingsError
from dockercni.settings import TABLE, Settings, load


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "dockercni.toml"
    path.touch()
    return path


def test_every_row_of_the_table_is_an_attribute() -> None:
    """The table and the typed record name the same settings, in the same order."""
    attributes = [field.name for field in dataclasses.fields(Settings)]
    assert [*(setting.attribute for setting in TABLE), "origins", "old_names"] == attributes


def test_defaults_are_those_of_the_conventions(file: Path) -> None:
    """Without file, environment and flags every setting has its documented default, and says so."""
    loaded = load({}, {}, file)
    assert loaded == Settings(
        docker_host="unix:///run/docker.sock",
        docker_root=Path("/var/lib/docker"),
        attach="all",
        attach_running=False,
        default_network="",
        trust_image_labels=False,
        cni_conf_dir=Path("/etc/cni/net.d"),
        cni_bin_dir=(Path("/opt/cni/bin"), Path("/usr/lib/cni"), Path("/usr/libexec/cni")),
        cni_cache_dir=Path("/var/lib/cni"),
        state_dir=Path("/var/lib/dockercni"),
        run_dir=Path("/run/dockercni"),
        netns_dir=Path("/run/netns"),
        backend="auto",
        isolation="on",
        hold=10.0,
        on_failure="leave",
        plugin_timeout=60.0,
        resync_interval=300.0,
        workers=8,
        log_level="info",
        log_format="auto",
        origins={},
    )
    assert set(loaded.origins.values()) == {"default"}
    assert set(loaded.origins) == {setting.key for setting in TABLE}


SOURCES = [
    ("", {}, {}, 8, "default"),
    ("workers = 3", {}, {}, 3, "FILE"),
    ("workers = 3", {"DOCKERCNI_WORKERS": "4"}, {}, 4, "environment DOCKERCNI_WORKERS"),
    ("workers = 3", {"DOCKERCNI_WORKERS": "4"}, {"workers": "5"}, 5, "flag --workers"),
    ("workers = 3", {}, {"workers": "5"}, 5, "flag --workers"),
]


@pytest.mark.parametrize(("toml", "environ", "flags", "value", "origin"), SOURCES)
def test_later_sources_win(
    file: Path, toml: str, environ: dict[str, str], flags: dict[str, str | bool], value: int, origin: str
) -> None:
    """Flags win over the environment, it over the file, it over the default, and the origin says which one did."""
    file.write_text(toml)
    loaded = load(flags, environ, file)
    assert loaded.workers == value
    assert loaded.origins["workers"] == origin.replace("FILE", str(file))


def test_the_old_name_of_a_setting_is_read(file: Path) -> None:
    """Each source may use the name and values of the version before; the settings say where one does."""
    file.write_text('engine = "native"')
    loaded = load({}, {}, file)
    assert (loaded.backend, loaded.origins["backend"]) == ("builtin", str(file))
    assert loaded.old_names == (("engine", str(file)),)
    loaded = load({"engine": "exec"}, {"DOCKERCNI_ENGINE": "auto"}, file)
    assert (loaded.backend, loaded.origins["backend"]) == ("exec", "flag --engine")
    assert [place for _, place in loaded.old_names] == [str(file), "environment DOCKERCNI_ENGINE", "flag --engine"]


def test_an_old_name_in_an_earlier_source_is_overruled(file: Path) -> None:
    """A flag wins over the settings file whichever of the two names either of them uses."""
    file.write_text('engine = "native"')
    assert load({"backend": "exec"}, {}, file).backend == "exec"
    file.write_text('backend = "builtin"')
    assert load({"engine": "exec"}, {}, file).backend == "exec"


BOTH_NAMES = [
    ('engine = "native"\nbackend = "exec"', {}, {}, "FILE: backend"),
    ("", {"DOCKERCNI_BACKEND": "exec", "DOCKERCNI_ENGINE": "auto"}, {}, "environment DOCKERCNI_ENGINE"),
    ("", {}, {"backend": "exec", "engine": "native"}, "flag --engine"),
]


@pytest.mark.parametrize(("toml", "environ", "flags", "place"), BOTH_NAMES)
def test_both_names_with_different_values_are_an_error(
    file: Path, toml: str, environ: dict[str, str], flags: dict[str, str | bool], place: str
) -> None:
    """One source that contradicts itself is refused; the same value by both names is accepted."""
    file.write_text(toml)
    with pytest.raises(SettingsError, match=f"{place.replace('FILE', str(file))}: engine is the old name of backend, "):
        load(flags, environ, file)
    file.write_text('engine = "native"\nbackend = "builtin"')
    assert load({}, {}, file).backend == "builtin"


@pytest.mark.parametrize(("key", "text"), [("backend", "native"), ("engine", "fast")])
def test_old_values_belong_to_the_old_name(file: Path, key: str, text: str) -> None:
    """The new name has the new values only, and what is wrong under the old name is refused like any other value."""
    with pytest.raises(SettingsError, match=f"""flag --{key} = '{text}': must be "auto" or "builtin" or "exec"$"""):
        load({key: text}, {}, file)


VALUES = [
    ("attach-running", "true", True),
    ("attach-running", "YES", True),
    ("attach-running", "1", True),
    ("attach-running", True, True),
    ("trust-image-labels", "no", False),
    ("trust-image-labels", "0", False),
    ("trust-image-labels", False, False),
    ("plugin-timeout", "500ms", 0.5),
    ("plugin-timeout", "10s", 10.0),
    ("resync-interval", "5m", 300.0),
    ("resync-interval", "1h", 3600.0),
    ("resync-interval", "off", None),
    ("cni-bin-dir", "/a,/b:/c", (Path("/a"), Path("/b"), Path("/c"))),
    ("cni-conf-dir", "/etc/cni/my nets", Path("/etc/cni/my nets")),
    ("docker-host", "tcp://127.0.0.1:2375", "tcp://127.0.0.1:2375"),
    ("default-network", "", ""),
    ("default-network", "lan.1_x-y", "lan.1_x-y"),
    ("log-level", "debug", "debug"),
    ("workers", "256", 256),
]


@pytest.mark.parametrize(("key", "text", "value"), VALUES)
def test_texts_become_typed_values(file: Path, key: str, text: str | bool, value: object) -> None:
    """A flag and, for texts, a variable of the same spelling give the same typed value."""
    attribute = key.replace("-", "_")
    assert getattr(load({key: text}, {}, file), attribute) == value
    if isinstance(text, str):
        assert getattr(load({}, {f"DOCKERCNI_{attribute.upper()}": text}, file), attribute) == value


WRONG_VALUES = [
    ("workers", "0", "a whole number from 1 to 256"),
    ("workers", "257", "a whole number from 1 to 256"),
    ("workers", "-1", "a whole number from 1 to 256"),
    ("workers", "\u0663", "a whole number from 1 to 256"),
    ("workers", "9" * 5000, "a whole number from 1 to 256"),
    ("workers", "", "a whole number from 1 to 256"),
    ("attach-running", "maybe", "true or false"),
    ("plugin-timeout", "10", "a duration with its unit"),
    ("plugin-timeout", "0s", "a duration with its unit"),
    ("plugin-timeout", "-1s", "a duration with its unit"),
    ("plugin-timeout", "off", "a duration with its unit"),
    ("resync-interval", "5 m", 'or "off"'),
    ("state-dir", "var/lib", "an absolute path"),
    ("state-dir", "/a\0b", "an absolute path"),
    ("cni-bin-dir", "/a:b", "absolute paths"),
    ("cni-bin-dir", "/a:", "absolute paths"),
    ("docker-host", "/run/docker.sock", '"unix:///PATH"'),
    ("docker-host", "unix://run/docker.sock", '"unix:///PATH"'),
    ("default-network", "../etc", "a network name"),
    ("default-network", "lan\n", "a network name"),
    ("attach", "some", '"all" or "labelled"'),
    ("log-format", "JSON", '"auto" or "console" or "json"'),
]


@pytest.mark.parametrize(("key", "text", "allowed"), WRONG_VALUES)
def test_wrong_texts_are_one_line(file: Path, key: str, text: str, allowed: str) -> None:
    """A wrong flag or variable is one line that names it, shows its value and says what is allowed."""
    variable = f"DOCKERCNI_{key.replace('-', '_').upper()}"
    for flags, environ, place in (
        ({key: text}, {}, f"flag --{key}"),
        ({}, {variable: text}, f"environment {variable}"),
    ):
        with pytest.raises(SettingsError) as caught:
            load(flags, environ, file)
        message = str(caught.value)
        assert message.startswith(f"{place} = {repr(text)[:40]}")
        assert allowed in message
        assert "\n" not in message
        assert len(message) < 250


def test_a_wrong_value_is_an_error_even_where_a_flag_replaces_it(file: Path) -> None:
    """Every value is checked, so that a broken file does not wait for the day when the flag is left out."""
    file.write_text("workers = 0")
    with pytest.raises(SettingsError, match="workers = 0: must be"):
        load({"workers": "4"}, {}, file)


WRONG_FILES = [
    ('workers = "8"', "workers = '8': must be a whole number from 1 to 256 (a TOML integer, not a TOML string)"),
    ("workers = true", "workers = true: must be a whole number from 1 to 256 (a TOML integer, not a TOML boolean)"),
    ("workers = 8.0", "workers = 8.0: must be a whole number from 1 to 256 (a TOML integer, not a TOML float)"),
    ("workers = 0", "workers = 0: must be a whole number from 1 to 256"),
    ("workers = [8]", "workers = [...]: must be a whole number from 1 to 256 (a TOML integer, not a TOML array)"),
    ('attach-running = "yes"', "attach-running = 'yes': must be true or false (a TOML boolean, not a TOML string)"),
    ("attach-running = 1", "attach-running = 1: must be true or false (a TOML boolean, not a TOML integer)"),
    ("state-dir = 2024-01-01", "state-dir = 2024-01-01: must be an absolute path (a TOML string, not a TOML date)"),
    ('state-dir = "x"', "state-dir = 'x': must be an absolute path"),
    ("worker = 8", "unknown key 'worker'; did you mean workers?"),
    ('docker_host = "x"', "unknown key 'docker_host'; did you mean docker-host?"),
    ("zzz = 1", "unknown key 'zzz'"),
    ("[daemon]\nworkers = 8", "unknown key 'daemon'"),
    ("workers = 8\nattach = all\n", "not valid TOML: Invalid value (line 2, column 10)"),
    ("workers = 8\nattach = ", "not valid TOML: Invalid value (at the end, line 2, column 10)"),
    ('attach = "all', "not valid TOML: Unterminated string (at the end, line 1, column 14)"),
    ("workers = " + "9" * 5000, "not valid TOML: Exceeds the limit"),
    ("x = " + "[" * 5000, "nested too deeply"),
]


@pytest.mark.parametrize(("toml", "message"), WRONG_FILES)
def test_a_wrong_file_is_one_line(file: Path, toml: str, message: str) -> None:
    """What is wrong in the file is one line with the file, then the key and value or the line and column."""
    file.write_text(toml)
    with pytest.raises(SettingsError) as caught:
        load({}, {}, file)
    assert str(caught.value).startswith(f"{file}: {message}")
    assert "\n" not in str(caught.value)


def test_a_number_too_long_for_python_is_a_wrong_number(file: Path) -> None:
    """An integer that str() itself refuses is reported like any other wrong value, shortened."""
    file.write_text("workers = 0x" + "f" * 9000)
    with pytest.raises(SettingsError, match=r"workers = 0xf{78}\.\.\.: must be a whole number"):
        load({}, {}, file)


def test_bytes_that_are_not_utf8_are_located(file: Path) -> None:
    """A file in another encoding is refused with the line and column of the first foreign byte."""
    file.write_bytes(b'workers = 8\nattach = "\xe9"\n')
    with pytest.raises(SettingsError, match="line 2, column 11: not UTF-8"):
        load({}, {}, file)


def test_only_the_default_file_may_be_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that somebody named must be there; the default one need not be."""
    missing = tmp_path / "missing.toml"
    with pytest.raises(SettingsError, match=f"{missing}: there is no such settings file"):
        load({}, {}, missing)
    monkeypatch.setattr(settings, "DEFAULT_FILE", missing)
    assert load({}, {}, missing).workers == 8


def test_a_file_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    """A directory or an impossible name in place of the file is one line, too."""
    with pytest.raises(SettingsError, match="cannot read the settings file: Is a directory"):
        load({}, {}, tmp_path)
    with pytest.raises(SettingsError, match="cannot read the settings file: embedded null byte"):
        load({}, {}, Path("/a\0b"))


UNKNOWN_VARIABLES = [
    ("DOCKERCNI_WORKER", "; did you mean DOCKERCNI_WORKERS?"),
    ("DOCKERCNI_SETTING", "; did you mean DOCKERCNI_SETTINGS?"),
    ("DOCKERCNI_docker_host", ""),
]


@pytest.mark.parametrize(("name", "hint"), UNKNOWN_VARIABLES)
def test_unknown_variables_are_errors(file: Path, name: str, hint: str) -> None:
    """A DOCKERCNI_ variable that is no setting is refused, with the nearest one that is."""
    with pytest.raises(SettingsError) as caught:
        load({}, {name: "1"}, file)
    assert str(caught.value).startswith(f"environment: unknown variable {name}")
    assert str(caught.value).endswith(hint)


def test_other_variables_are_ignored(file: Path) -> None:
    """Variables of others, and the one that names the settings file, say nothing about settings."""
    environ = {"DOCKER_HOST": "x", "PATH": "/bin", "DOCKERCNI": "x", "DOCKERCNI_SETTINGS": str(file)}
    assert load({}, environ, file) == load({}, {}, file)


@given(st.one_of(st.binary(), st.text().map(str.encode), st.text().map(lambda text: f"attach = '''{text}'''".encode())))
def test_no_file_content_is_a_traceback(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    """Whatever the file holds, the answer is settings or one SettingsError."""
    path = tmp_path_factory.getbasetemp() / "any.toml"
    path.write_bytes(content)
    try:
        loaded = load({}, {}, path)
    except SettingsError as error:
        assert "\n" not in str(error)  # noqa: PT017  either outcome is right
    else:
        assert isinstance(loaded, Settings)
