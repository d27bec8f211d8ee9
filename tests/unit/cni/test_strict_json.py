import pytest

from dockercni.cni import strict_json
from dockercni.cni.strict_json import DocumentError, Fields


@pytest.mark.parametrize(
    ("data", "value"),
    [
        (b'{"a":1,"a":2}', {"a": 2}),
        (b"9007199254740993", 9007199254740993),
        (b"123456789012345678901234567890", 123456789012345678901234567890),
        (b'"\xff"', "\ufffd"),
        (rb'"\ud800x"', "\ufffdx"),
        (rb'"\uD83D\uDE00"', "\U0001f600"),
        (rb'"\\ud800"', "\\ud800"),
        (rb'"\ude00\ud83d"', "\ufffd\ufffd"),
        (b"[" * 200 + b"]" * 200, None),
    ],
)
def test_documents_are_read_as_go_reads_them(data: bytes, value: object) -> None:
    """The last of equal keys wins, big integers stay exact, broken text becomes U+FFFD."""
    found = strict_json.decode(data)
    assert value is None or found == value
    assert strict_json.decode(strict_json.encode(found)) == found


@pytest.mark.parametrize(
    ("data", "problem", "position"),
    [
        (b"", "is empty", None),
        (b" \n", "is empty", None),
        (b'{\n  "a": 1,\n  "b"}', "expecting ':' delimiter", (3, 6)),
        (b'{\n  // why\n  "a": 1}', "no comments", (2, 3)),
        (b'{"a": 1 # why\n}', "no comments", (1, 9)),
        (b'{"a": 1, "b"', "expecting ':' delimiter", (1, 13)),
        (b"{} {}", "extra data", (1, 4)),
        (b"\xef\xbb\xbf{}", "byte order mark", (1, 1)),
        (b'{"a": NaN}', "NaN is not JSON", None),
        (b"[-Infinity]", "-Infinity is not JSON", None),
        (b"1e999", "1e999 is too large", None),
        (b"9" * 5000, "too many digits", None),
        (b"[" * 201 + b"]" * 201, "nested deeper than 200", None),
        (b"[" * 100_000, "nested too deeply", None),
        (b'"a\nb"', "invalid control character", (1, 3)),
    ],
)
def test_what_is_not_json_says_where(data: bytes, problem: str, position: tuple[int, int] | None) -> None:
    """Each kind of broken document has its own words, and its line and column where there is one place."""
    with pytest.raises(DocumentError) as error:
        strict_json.decode(data)
    assert problem in error.value.problem
    assert error.value.position == position


def test_documents_are_written_compactly() -> None:
    """No byte is superfluous, and all are ASCII."""
    assert strict_json.encode({"a": [1, 2.5, None], "ü": True}) == b'{"a":[1,2.5,null],"\\u00fc":true}'


def test_keys_match_in_any_case_and_the_exact_one_wins() -> None:
    """`isGateway` finds `IsGateWay`, unless it stands there itself."""
    assert strict_json.lookup({"IsGateWay": 1}, "isGateway") == 1
    assert strict_json.lookup({"ISGATEWAY": 1, "isGateway": 2, "isgateway": 3}, "isGateway") == 2
    assert strict_json.lookup({"a": 1}, "b") is None


@pytest.mark.parametrize(
    ("reader", "value", "shown"),
    [
        ("string", 1, "must be a string, not 1"),
        ("boolean", "true", 'must be true or false, not "true"'),
        ("boolean", 0, "must be true or false, not 0"),
        ("integer", True, "must be a 64-bit integer, not true"),
        ("integer", 1.0, "must be a 64-bit integer, not 1.0"),
        ("integer", 2**63, "must be a 64-bit integer, not 9223372036854775808"),
        ("object", [], "must be an object, not []"),
        ("array", {}, "must be an array, not {}"),
    ],
)
def test_wrong_types_name_the_path(reader: str, value: object, shown: str) -> None:
    """A value of the wrong type is an error with its path and what stands there instead."""
    with pytest.raises(DocumentError) as error:
        getattr(Fields({"KEY": value}, "plugins[1]"), reader)("key")
    assert str(error.value) == f"plugins[1].key: {shown}"


def test_null_is_as_good_as_absent() -> None:
    """Every reader gives the same for null and for nothing."""
    for values in ({"key": None}, {}):
        fields = Fields(values)
        found = [fields.string("key"), fields.boolean("key"), fields.integer("key"), fields.array("key")]
        assert found == ["", False, None, []]
        assert fields.object("key").values == {}


def test_elements_of_arrays_are_checked() -> None:
    """A null or a number among strings, and anything but an object among objects, is named by its index."""
    with pytest.raises(DocumentError, match=r"^a\[1\]: must be a string, not null"):
        Fields({"a": ["x", None]}).strings("a")
    with pytest.raises(DocumentError, match=r"^p\.a\[0\]: must be an object, not null"):
        list(Fields({"a": [None]}, "p").objects("a"))
