import pytest

from dockercni.cni import versions
from dockercni.cni.errors import VersionError
from dockercni.cni.versions import Feature


def test_known_versions_ascend() -> None:
    """The known versions stand in order, from the oldest to the current one."""
    assert sorted(versions.KNOWN, key=versions.parse) == list(versions.KNOWN)
    assert (versions.OLDEST, versions.CURRENT) == ("0.1.0", "1.1.0")


@pytest.mark.parametrize(
    ("text", "parts"), [("", (0, 1, 0)), ("1", (1, 0, 0)), ("1.1", (1, 1, 0)), ("0.4.10", (0, 4, 10))]
)
def test_missing_parts_are_zero(text: str, parts: tuple[int, int, int]) -> None:
    """A version may leave out its last parts, and the empty one is 0.1.0."""
    assert versions.parse(text) == parts


@pytest.mark.parametrize("text", ["x", "1.", "1.0.0.0", "-1.0.0", "1.0.0\n", "१.0.0", " 1", "1" * 5000])
def test_malformed_versions_are_refused(text: str) -> None:
    """What is not one to three numbers is a VersionError, code 1."""
    with pytest.raises(VersionError) as error:
        versions.parse(text)
    assert error.value.code == 1


@pytest.mark.parametrize(
    ("feature", "first"),
    [
        (Feature.CHECK, "0.4.0"),
        (Feature.PREV_RESULT_ON_DEL, "0.4.0"),
        (Feature.GC, "1.1.0"),
        (Feature.STATUS, "1.1.0"),
    ],
)
def test_features_begin_with_a_version(feature: Feature, first: str) -> None:
    """CHECK and prevResult on DEL came with 0.4.0, GC and STATUS with 1.1.0."""
    having = [version for version in versions.KNOWN if versions.supports(version, feature)]
    assert having == list(versions.KNOWN[versions.KNOWN.index(first) :])
