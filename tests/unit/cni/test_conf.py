import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dockercni.cni.conf import MAX_BYTES, NetworkList, load_directory, load_file, parse_list, parse_plugin
from dockercni.cni.errors import ConfigurationError

Write = Callable[[str, Any], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write a file, given as JSON value or as text, into the configuration directory."""

    def to(name: str, content: Any) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return path

    return to


def conflist(**changes: Any) -> dict[str, Any]:
    return {"name": "net", "cniVersion": "1.0.0", "plugins": [{"type": "bridge"}], **changes}


def parsed(**changes: Any) -> NetworkList:
    return parse_list(json.dumps(conflist(**changes)).encode())


def outcome_of(parse: Callable[[bytes], NetworkList], data: bytes) -> NetworkList | ConfigurationError:
    try:
        return parse(data)
    except ConfigurationError as error:
        return error


def test_a_list_is_read_as_written() -> None:
    """Name, version, plugins in order, their capabilities marked true and every unknown key come from the file."""
    bridge = {"type": "bridge", "mtu": 9007199254740993, "capabilities": {"ips": True, "mac": False, "dns": None}}
    data = json.dumps(conflist(plugins=[bridge, {"type": "portmap"}], future={"x": 1})).encode()
    network = parse_list(data)
    assert (network.name, network.cni_version, network.raw) == ("net", "1.0.0", data)
    assert [plugin.type for plugin in network.plugins] == ["bridge", "portmap"]
    assert network.plugins[0].capabilities == {"ips"}
    assert network.plugins[0].raw == bridge
    assert network.extra["future"] == {"x": 1}


def test_plugin_keys_match_in_any_case_but_list_keys_do_not() -> None:
    """As in libcni, `Type` and `Capabilities` of a plugin count, and `CniVersion` of a list does not."""
    plugin = {"Type": "bridge", "Capabilities": {"mac": True}}
    network = parse_list(json.dumps({"name": "net", "CniVersion": "1.0.0", "plugins": [plugin]}).encode())
    assert network.plugins[0].type == "bridge"
    assert network.plugins[0].capabilities == {"mac"}
    assert network.cni_version == "0.1.0"


@pytest.mark.parametrize("value", [True, "true", "TRUE", "True"])
def test_booleans_may_be_strings(value: Any) -> None:
    """disableCheck and disableGC take true, and "true" in any case."""
    network = parsed(disableCheck=value, disableGC=value)
    assert (network.disable_check, network.disable_gc) == (True, True)


@pytest.mark.parametrize("value", [False, "false", "FALSE", None])
def test_booleans_are_off_otherwise(value: Any) -> None:
    """disableCheck and disableGC take false, "false" in any case, and null."""
    network = parsed(disableCheck=value, disableGC=value)
    assert (network.disable_check, network.disable_gc) == (False, False)


@pytest.mark.parametrize(
    ("version", "offered", "chosen"),
    [
        (None, None, "0.1.0"),
        ("", None, "0.1.0"),
        ("0.4.0", None, "0.4.0"),
        ("1.0.0", ["0.1.0", "0.4.0"], "1.0.0"),
        (None, ["1.1.0", "0.4.0", "1.0.0"], "1.1.0"),
        (None, ["99.0.0", "1.1.0", "0.4.0"], "1.1.0"),
        (None, ["0.4.0", "0.3.10"], "0.4.0"),
        ("9.0.0", ["0.4.0"], "0.4.0"),
        ("1.0.0", [], "1.0.0"),
        (None, [], "0.1.0"),
    ],
)
def test_the_highest_common_version_is_chosen(version: str | None, offered: list[str] | None, chosen: str) -> None:
    """cniVersions and cniVersion together name the choices; those that we do not know are skipped."""
    assert parsed(cniVersion=version, cniVersions=offered).cni_version == chosen


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": None}, "name: missing network name"),
        ({"name": 1}, "name: must be a string, not 1"),
        ({"name": "a/b"}, "name: invalid characters in network name; 'a/b'"),
        ({"name": "a\n"}, "name: invalid characters in network name; 'a\\n'"),
        ({"cniVersion": 1}, "cniVersion: must be a string, not 1"),
        ({"cniVersion": "9.2.0"}, 'cniVersion: "9.2.0" is not a version of CNI'),
        ({"cniVersion": "0.5.0"}, 'cniVersion: "0.5.0" is not a version of CNI'),
        ({"cniVersion": "x"}, 'cniVersion: "x" is not a version of CNI'),
        ({"cniVersions": "1.0.0"}, 'cniVersions: must be an array, not "1.0.0"'),
        ({"cniVersions": ["1.0.0", 1]}, "cniVersions[1]: must be a string, not 1"),
        ({"cniVersions": ["1.0.0", "x"]}, "cniVersions[1]: malformed CNI version; 'x'"),
        ({"cniVersions": ["1.0.0"], "cniVersion": "x"}, "cniVersion: malformed CNI version; 'x'"),
        ({"cniVersions": ["2.0.0"], "cniVersion": None}, 'cniVersions: none of ["2.0.0"] is known'),
        ({"plugins": None}, "plugins: no plugins"),
        ({"plugins": []}, "plugins: no plugins in the list"),
        ({"plugins": {}}, "plugins: must be an array, not {}"),
        ({"plugins": ["bridge"]}, 'plugins[0]: must be an object, not "bridge"'),
        ({"plugins": [{"type": "a"}, {}]}, "plugins[1].type: missing"),
        ({"plugins": [{"type": 5}]}, "plugins[0].type: must be a string, not 5"),
        ({"plugins": [{"type": "../sh"}]}, 'plugins[0].type: "../sh" is not the name of a plugin'),
        ({"plugins": [{"type": "a", "capabilities": ["ips"]}]}, "plugins[0].capabilities: must be an object"),
        ({"plugins": [{"type": "a", "capabilities": {"ips": "true"}}]}, "plugins[0].capabilities.ips: must be true"),
        ({"plugins": [{"type": "a", "ipam": "dhcp"}]}, "plugins[0].ipam: must be an object"),
        ({"plugins": [{"type": "a", "dns": {"search": "x"}}]}, "plugins[0].dns.search: must be an array"),
        ({"disableCheck": 1}, "disableCheck: must be true or false, not 1"),
        ({"disableGC": "yes"}, 'disableGC: must be true or false, not "yes"'),
        ({"loadOnlyInlinedPlugins": []}, "loadOnlyInlinedPlugins: must be true or false, not []"),
    ],
)
def test_a_wrong_value_is_named_by_its_key(changes: dict[str, Any], message: str) -> None:
    """Whatever is wrong with a list, the error is one line with the path of the key and the value."""
    with pytest.raises(ConfigurationError) as error:
        parsed(**changes)
    assert message in str(error.value)
    assert str(error.value).isprintable()
    assert error.value.code == 7
    assert message.startswith(f"{error.value.key}: ")


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ('{"name": "net",\n  "cniVersion":  "9.2.0", "plugins": [{"type": "a"}]}', ":2:18: cniVersion: "),
        ('{"name": "net",\n "plugins": [\n {"type": "a", "IPAM": 1}]}', ":3:24: plugins[0].ipam: "),
        ('{"name": "net",\n "plugins": [\n {"type": "a"}, {"type": 1}]}', "plugins[1].type: "),
        ('{"plugins": [{"type": "a", "name": "b"}]}', "x.conflist: name: missing"),
    ],
)
def test_a_wrong_value_is_shown_by_line_where_there_is_no_doubt(text: str, place: str) -> None:
    """Line and column of a value are given if its key occurs once, and never those of another key."""
    with pytest.raises(ConfigurationError) as error:
        parse_list(text.encode(), Path("/etc/x.conflist"))
    assert place in str(error.value)
    assert (error.value.line is not None) == place.startswith(":")


def test_a_syntax_error_has_a_place_and_a_code_of_its_own() -> None:
    """What is not JSON is code 6, with file, line and column."""
    with pytest.raises(ConfigurationError) as error:
        parse_list(b'{\n  "name" "net"}', Path("/etc/x.conflist"))
    assert str(error.value) == "/etc/x.conflist:2:10: expecting ':' delimiter"
    assert error.value.code == 6


def test_a_single_plugin_becomes_a_list_of_one() -> None:
    """A .conf is wrapped, and its own keys stay in the plugin."""
    plugin = {"Name": "net", "cniVersion": "0.3.1", "type": "bridge", "disableCheck": True}
    network = parse_plugin(json.dumps(plugin).encode())
    assert (network.name, network.cni_version, network.disable_check) == ("net", "0.3.1", False)
    assert [dict(each.raw) for each in network.plugins] == [plugin]
    assert parse_list(network.raw) == network


@pytest.mark.parametrize(
    ("plugin", "message"),
    [
        ({"type": "bridge"}, "name: missing network name"),
        ({"name": "net"}, "type: missing"),
        (conflist(), "belongs into a .conflist file"),
        ({"name": "net", "type": "a", "cniVersion": "9.2.0"}, 'cniVersion: "9.2.0" is not'),
        ([], "must be an object, not []"),
    ],
)
def test_a_wrong_single_plugin_is_named_by_its_own_keys(plugin: Any, message: str) -> None:
    """Errors of a .conf do not speak of the list that it becomes."""
    with pytest.raises(ConfigurationError) as error:
        parse_plugin(json.dumps(plugin).encode())
    assert message in str(error.value)
    assert "plugins[0]" not in str(error.value)


def test_plugins_of_the_subdirectory_follow_the_inlined_ones(write: Write) -> None:
    """`<network>/*.conf` is appended in file-name order, and the recorded bytes hold all of it without a directory."""
    write("net/20-b.conf", {"type": "b"})
    write("net/10-a.conf", {"type": "a", "capabilities": {"mac": True}})
    write("net/15.json", {"type": "no"})
    write("other/10.conf", {"type": "no"})
    network = load_file(write("1.conflist", conflist(future=1)))
    assert [plugin.type for plugin in network.plugins] == ["bridge", "a", "b"]
    again = parse_list(network.raw, network.source)
    assert again == network
    assert again.extra["loadOnlyInlinedPlugins"] is True
    assert again.extra["future"] == 1


@pytest.mark.parametrize(
    ("inlined", "only", "files", "types"),
    [
        (True, None, False, ["bridge"]),
        (True, None, True, ["bridge", "a"]),
        (True, "true", True, ["bridge"]),
        (False, False, True, ["a"]),
        (False, None, False, None),
        (False, True, True, None),
    ],
)
def test_inlined_and_other_plugins_merge(
    write: Write, inlined: bool, only: Any, files: bool, types: list[str] | None
) -> None:
    """loadOnlyInlinedPlugins leaves the subdirectory out; a network without any plugin is an error."""
    content = conflist(loadOnlyInlinedPlugins=only)
    if not inlined:
        del content["plugins"]
    if files:
        write("net/a.conf", {"type": "a"})
    path = write("1.conflist", content)
    if types is None:
        with pytest.raises(ConfigurationError, match="plugins: no plugins"):
            load_file(path)
    else:
        assert [plugin.type for plugin in load_file(path).plugins] == types


def test_unmerged_files_keep_their_bytes(write: Write) -> None:
    """Where nothing was merged, what is recorded is the file itself."""
    path = write("1.conflist", ' {"name":"net", "plugins":[{"type":"a"}]}\n')
    assert load_file(path).raw == path.read_bytes()


def test_a_broken_plugin_file_is_named_itself(write: Write) -> None:
    """An error in `<network>/x.conf` names that file, not the list."""
    broken = write("net/x.conf", '{"type": 1}')
    with pytest.raises(ConfigurationError) as error:
        load_file(write("1.conflist", conflist()))
    assert str(error.value) == f"{broken}:1:10: type: must be a string, not 1"


def test_files_that_cannot_be_read_are_errors(tmp_path: Path) -> None:
    """A directory, a FIFO, a dangling link, an absent file, a huge one and an unknown suffix end in one clear line."""
    (tmp_path / "dir.conflist").mkdir()
    os.mkfifo(tmp_path / "fifo.conflist")
    (tmp_path / "link.conf").symlink_to("nowhere")
    (tmp_path / "huge.json").write_bytes(b" " * (MAX_BYTES + 1))
    (tmp_path / "x.yaml").touch()
    said = {}
    for name in ("dir.conflist", "fifo.conflist", "link.conf", "none.conf", "huge.json", "x.yaml", "\0.conf"):
        with pytest.raises(ConfigurationError) as error:
            load_file(tmp_path / name)
        assert str(error.value).startswith(str(tmp_path))
        said[name] = error.value.problem
    assert said == {
        "dir.conflist": "cannot be read: Is a directory",
        "fifo.conflist": "not a regular file",
        "link.conf": "cannot be read: No such file or directory",
        "none.conf": "cannot be read: No such file or directory",
        "huge.json": "larger than 1048576 bytes",
        "x.yaml": "not a .conflist, .conf or .json file",
        "\0.conf": "cannot be read: embedded null byte",
    }


def test_lists_come_before_single_plugins(write: Write, tmp_path: Path) -> None:
    """A directory is looked at in libcni's order, and the default network is the first file by plain name."""
    write("20.conflist", conflist(name="d"))
    write("05.json", {"name": "a", "type": "x"})
    write("10.conf", {"name": "b", "type": "x"})
    write("15.conflist", conflist(name="c"))
    write("01.conflist/nested.conflist", conflist(name="nested"))
    write("00.conflist.bak", "no")
    directory = load_directory(tmp_path)
    assert [network.name for network in directory.networks] == ["c", "d", "a", "b"]
    assert directory.broken == ()
    first = directory.first()
    assert isinstance(first, NetworkList)
    assert first.name == "a"


def test_a_missing_or_empty_directory_is_empty(tmp_path: Path) -> None:
    """No directory and no files are no error."""
    for path in (tmp_path, tmp_path / "none"):
        directory = load_directory(path)
        assert (directory.networks, directory.broken, directory.first()) == ((), (), None)


def test_a_broken_file_hides_no_other_but_is_no_default(write: Write, tmp_path: Path) -> None:
    """The good files stay usable; if the first by name is broken, there is no default instead of another one."""
    broken = write("10.conf", "{")
    write("20.conflist", conflist())
    write("30.conflist", "[]")
    directory = load_directory(tmp_path)
    assert [network.name for network in directory.networks] == ["net"]
    assert [error.source for error in directory.broken] == [tmp_path / "30.conflist", broken]
    first = directory.first()
    assert isinstance(first, ConfigurationError)
    assert first.source == broken


def test_a_broken_plugin_file_makes_its_list_no_default(write: Write, tmp_path: Path) -> None:
    """An error in a network's subdirectory counts for the list, whatever that file is called."""
    write("10.conflist", conflist())
    write("net/99.conf", "{")
    write("20.conflist", conflist(name="other"))
    assert isinstance(load_directory(tmp_path).first(), ConfigurationError)


def test_two_files_with_one_name_are_an_error(write: Write, tmp_path: Path) -> None:
    """The second file that defines a network, in libcni's order, is broken, and the error names both."""
    owner, second = write("20.conflist", conflist()), write("10.conf", {"name": "net", "type": "x"})
    directory = load_directory(tmp_path)
    assert [network.source for network in directory.networks] == [owner]
    assert [str(error) for error in directory.broken] == [
        f'{second}: name: network "net" is already defined by {owner}'
    ]


@pytest.mark.parametrize("key", ["sysctl", "SYSCTL"])
def test_one_sysctl_twice_is_an_error(write: Write, key: str) -> None:
    """Nobody can tell which of two values of a sysctl is meant; elsewhere the last of equal keys counts, as in Go."""
    text = f'{{"cniVersion": "1.0.0", "name": "a", "name": "net", "plugins": [{{"type": "tuning", "{key}": {{%s}}}}]}}'
    assert load_file(write("good.conflist", text % '"net.a": "1", "net.b": "1"')).name == "net"
    with pytest.raises(ConfigurationError, match=r"sysctl: .net\.a. is there twice"):
        load_file(write("bad.conflist", text % '"net.a": "1", "net.a": "0"'))


def test_a_directory_that_is_none_is_broken(write: Write) -> None:
    """What cannot be listed is reported, and is no empty directory."""
    path = write("file", "")
    directory = load_directory(path)
    assert [str(error) for error in directory.broken] == [f"{path}: cannot be read: Not a directory"]
    assert isinstance(directory.first(), ConfigurationError)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(), children, max_size=3),
    max_leaves=10,
)
KEYS = ("name", "cniVersion", "cniVersions", "disableCheck", "plugins", "loadOnlyInlinedPlugins", "type", "ipam", "dns")
PLUGIN = st.dictionaries(st.sampled_from([*KEYS, "capabilities"]), JSON | st.just("bridge"), max_size=4)
LIKELY = st.fixed_dictionaries(
    {},
    optional={
        "name": st.just("net") | JSON,
        "cniVersion": st.sampled_from(["0.4.0", "1.1.0", "7"]) | JSON,
        "cniVersions": st.lists(st.sampled_from(["", "0.4.0", "7"]) | JSON, max_size=3),
        "plugins": st.lists(PLUGIN, max_size=3) | JSON,
        "type": st.just("bridge") | JSON,
        "disableGC": st.sampled_from(["TRUE", "false"]) | JSON,
    },
)
DOCUMENTS = st.binary(max_size=60) | (JSON | LIKELY).map(json.dumps).map(str.encode)


@pytest.mark.parametrize("parse", [parse_list, parse_plugin])
@given(data=DOCUMENTS)
def test_whatever_the_bytes_there_is_a_network_or_one_line(parse: Callable[[bytes], NetworkList], data: bytes) -> None:
    """Any bytes give a network that its own bytes give again, or a ConfigurationError of one printable line."""
    outcome = outcome_of(parse, data)
    if isinstance(outcome, ConfigurationError):
        assert str(outcome).isprintable()
    else:
        assert parse_list(outcome.raw) == outcome


@given(data=DOCUMENTS, plugin=DOCUMENTS)
def test_whatever_the_files_there_is_a_network_or_one_line(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, plugin: bytes
) -> None:
    """The same holds for files, with whatever lies in the subdirectory."""
    directory = tmp_path_factory.mktemp("net.d")
    (directory / "1.conflist").write_bytes(data)
    (directory / "2.conf").write_bytes(data)
    (directory / "net").mkdir()
    (directory / "net" / "1.conf").write_bytes(plugin)
    found = load_directory(directory)
    assert len(found.networks) + len(found.broken) == 2
    assert all(parse_list(network.raw, network.source) == network for network in found.networks)
    assert all(str(error).isprintable() for error in found.broken)


@pytest.mark.parametrize("depth", [197, 198, 199, 200, 201])
def test_what_loads_can_be_recorded(depth: int) -> None:
    """However deep a .conf is nested, the list that it becomes parses again, or the .conf is refused."""
    text = '{"name":"net","type":"a","x":' + "[" * (depth - 1) + "]" * (depth - 1) + "}"
    outcome = outcome_of(parse_plugin, text.encode())
    if depth > 198:
        assert isinstance(outcome, ConfigurationError)
        assert "nested deeper" in str(outcome)
    else:
        assert isinstance(outcome, NetworkList)
        assert parse_list(outcome.raw) == outcome
