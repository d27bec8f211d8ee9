"""Loading of configurations as in libcni: numbers 24 to 30 of the conformance list."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from dockercni.cni import Cache, CacheEntry, CacheError, ConfigurationError, load_directory, load_file, parse_list


def write(path: Path, content: Any) -> Path:
    """A file of JSON, or of text."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def conflist(**keys: Any) -> dict[str, Any]:
    """A network of one plugin."""
    return {"cniVersion": "1.0.0", "name": "net", "plugins": [{"type": "a"}], **keys}


def test_lists_beat_single_plugins(tmp_path: Path) -> None:
    """H24: a .conflist wins over a .conf of the same name, whatever comes first; ours says that of the loser."""
    write(tmp_path / "10-net.conf", {"cniVersion": "0.4.0", "name": "net", "type": "single"})
    write(tmp_path / "20-net.conflist", conflist())
    found = load_directory(tmp_path)
    assert [(network.name, network.plugins[0].type) for network in found.networks] == [("net", "a")]
    assert "already defined by" in str(found.broken[0])


@pytest.mark.parametrize("suffix", ["conf", "json"])
def test_single_plugins_become_lists(tmp_path: Path, suffix: str) -> None:
    """H24: a lone .conf or .json is a list of one plugin, with its name and version."""
    plugin = {"cniVersion": "0.4.0", "name": "net", "type": "single", "key": 2**60}
    network = load_file(write(tmp_path / f"net.{suffix}", plugin))
    assert (network.name, network.cni_version, [dict(each.raw) for each in network.plugins]) == (
        "net",
        "0.4.0",
        [plugin],
    )
    assert json.loads(network.raw) == {"name": "net", "cniVersion": "0.4.0", "plugins": [plugin]}


def test_nested_lists_are_ignored(tmp_path: Path) -> None:
    """H25: a .conflist in a subdirectory is no network, nor a part of one."""
    write(tmp_path / "net.conflist", conflist())
    write(tmp_path / "net" / "other.conflist", conflist(name="other"))
    write(tmp_path / "sub" / "third.conf", {"name": "third", "type": "b"})
    found = load_directory(tmp_path)
    assert [(network.name, len(network.plugins)) for network in found.networks] == [("net", 1)]
    assert found.broken == ()


@pytest.mark.parametrize("content", ["{", '{"name":"x","plugins":[]}', '{"plugins":[{"type":"a"}]}', "[]", ""])
def test_a_malformed_file_hides_no_other(tmp_path: Path, content: str) -> None:
    """H26: in libcni a malformed earlier file makes all later ones unusable; here it is told, and they serve."""
    broken = write(tmp_path / "10-broken.conflist", content)
    write(tmp_path / "20-net.conflist", conflist())
    found = load_directory(tmp_path)
    assert [network.name for network in found.networks] == ["net"]
    assert [error.source for error in found.broken] == [broken]
    assert isinstance(found.first(), ConfigurationError)  # but no default falls through to another file


@pytest.mark.parametrize(
    ("value", "flag"),
    [(True, True), (False, False), ("true", True), ("True", True), ("TRUE", True), ("false", False), ("False", False)],
)
def test_booleans_may_be_strings(tmp_path: Path, value: Any, flag: bool) -> None:
    """H27: disableCheck, disableGC and loadOnlyInlinedPlugins take booleans, and strings in any case."""
    keys = {"disableCheck": value, "disableGC": value, "loadOnlyInlinedPlugins": value}
    write(tmp_path / "net" / "10.conf", {"type": "b"})
    network = load_file(write(tmp_path / "net.conflist", conflist(**keys)))
    assert (network.disable_check, network.disable_gc, len(network.plugins) == 1) == (flag, flag, flag)


@pytest.mark.parametrize("value", ["yes", "", 1, 0, [], {}])
@pytest.mark.parametrize("key", ["disableCheck", "disableGC", "loadOnlyInlinedPlugins"])
def test_other_booleans_are_errors(key: str, value: Any) -> None:
    """H27: any other value is an error that names the key."""
    with pytest.raises(ConfigurationError, match=f"{key}: must be true or false"):
        parse_list(json.dumps(conflist(**{key: value})).encode())


@pytest.mark.parametrize("only", [None, False, True])
@pytest.mark.parametrize("inlined", [True, False])
@pytest.mark.parametrize("subdirectory", [True, False])
def test_inlined_and_other_plugins_merge(tmp_path: Path, only: bool | None, inlined: bool, subdirectory: bool) -> None:
    """H28: `<network>/*.conf` follows the inlined plugins unless loadOnlyInlinedPlugins; no plugin is an error."""
    content: dict[str, Any] = conflist() if inlined else {"cniVersion": "1.0.0", "name": "net"}
    if only is not None:
        content["loadOnlyInlinedPlugins"] = only
    if subdirectory:
        write(tmp_path / "net" / "20.conf", {"type": "c"})
        write(tmp_path / "net" / "10.conf", {"type": "b"})
        write(tmp_path / "net" / "05.json", {"type": "no"})
    expected = ["a"] * inlined + ["b", "c"] * (subdirectory and not only)
    path = write(tmp_path / "net.conflist", content)
    if not expected:
        with pytest.raises(ConfigurationError, match="plugins: no plugins"):
            load_file(path)
        return
    network = load_file(path)
    assert [plugin.type for plugin in network.plugins] == expected
    # libcni records the file alone; we record the merged list, which DEL needs when the subdirectory has changed
    assert [plugin.type for plugin in parse_list(network.raw).plugins] == expected


@pytest.mark.parametrize(
    ("version", "offered", "chosen"),
    [
        ("1.0.0", ["1.1.0", "0.4.0"], "1.1.0"),
        ("0.4.0", ["1.2.3", "99.0.0", "1.0.0"], "1.0.0"),
        ("1.1.0", ["0.3.1"], "1.1.0"),
        ("1.0.0", [], "1.0.0"),
        (None, ["0.4.0"], "0.4.0"),
        (None, None, "0.1.0"),
    ],
)
def test_the_highest_known_version_is_chosen(version: str | None, offered: list[str] | None, chosen: str) -> None:
    """H29: of cniVersion and cniVersions the highest that we know is spoken; an empty list changes nothing."""
    content = conflist(cniVersion=version, cniVersions=offered)
    assert parse_list(json.dumps(content).encode()).cni_version == chosen


@pytest.mark.parametrize("offered", [["broken"], ["1.0.0", "1.2.3.4"], ["1.x"], [1], "1.0.0"])
def test_malformed_versions_are_errors(offered: Any) -> None:
    """H29: a malformed version among cniVersions is an error."""
    with pytest.raises(ConfigurationError, match="cniVersions"):
        parse_list(json.dumps(conflist(cniVersions=offered)).encode())


def test_a_lone_unknown_version_is_refused() -> None:
    """H29: libcni loads a network of a version that nobody knows and fails at ADD; we refuse it when it is read."""
    with pytest.raises(ConfigurationError, match=r'"9\.2\.0" is not a version of CNI') as error:
        parse_list(json.dumps(conflist(cniVersion="9.2.0")).encode())
    assert error.value.line == 1


@pytest.mark.parametrize("key", [("", "id", "eth0"), ("net", "", "eth0"), ("net", "id", ""), ("net", "a/b", "eth0")])
def test_an_incomplete_cache_key_is_an_error(tmp_path: Path, key: tuple[str, str, str]) -> None:
    """H30: without network, container id or interface name there is no cache entry, to read or to write."""
    cache = Cache(tmp_path / "cache")
    if all(key):
        assert cache.read(*key) is None  # as a file of that name cannot be there
    else:
        with pytest.raises(CacheError, match="no cache entry for"):
            cache.read(*key)
    with pytest.raises(CacheError, match="no cache entry for"):
        cache.write(CacheEntry(*key, netns="", config=b""))
    assert list(tmp_path.iterdir()) == []


def test_what_libcni_searches_for_is_there(tmp_path: Path) -> None:
    """Section B: a missing directory is empty, names that end otherwise do not count, a missing type is an error."""
    write(tmp_path / "net.conflist.bak", "{")
    write(tmp_path / "README", "{")
    write(tmp_path / "bad.conf", {"name": "net"})
    found = load_directory(tmp_path)
    assert found.networks == ()
    assert [str(error) for error in found.broken] == [f"{tmp_path / 'bad.conf'}: type: missing"]
    assert load_directory(tmp_path / "none").files == ()
