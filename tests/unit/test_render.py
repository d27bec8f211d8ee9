"""dockercni.render: what is printed, and what never reaches the terminal."""

import io
import json
import sys

import pytest

from dockercni import render


def test_table_is_aligned_without_trailing_blanks(capsys: pytest.CaptureFixture[str]) -> None:
    """Columns are as wide as their widest cell, two spaces apart, and no line ends in a blank."""
    render.table(("NAME", "NETWORK", "IP"), [("web", "lan", "10.22.0.5"), ("database", "lan", "")])
    assert capsys.readouterr().out == "NAME      NETWORK  IP\nweb       lan      10.22.0.5\ndatabase  lan\n"


def test_empty_table_is_its_headers(capsys: pytest.CaptureFixture[str]) -> None:
    """Without rows the headers still say what there would be."""
    render.table(("NAME", "IP"), [])
    assert capsys.readouterr().out == "NAME  IP\n"


def test_escaped_cells_are_aligned_as_shown(capsys: pytest.CaptureFixture[str]) -> None:
    """The width of a cell is that of its escaped form."""
    render.table(("A", "B"), [("\x1b", "x"), ("abcd", "y")])
    assert capsys.readouterr().out == "A     B\n\\x1b  x\nabcd  y\n"


def test_rows_of_another_length_are_a_defect() -> None:
    """A row with a cell too few is refused, not shifted."""
    with pytest.raises(ValueError, match="argument"):
        render.table(("A", "B"), [("a",)])


def test_json_has_the_schema_first_and_keeps_order(capsys: pytest.CaptureFixture[str]) -> None:
    """Objects are indented by two and start with the version of their shape."""
    render.json({"b": 1, "a": ["x"]})
    assert capsys.readouterr().out == '{\n  "schema": 1,\n  "b": 1,\n  "a": [\n    "x"\n  ]\n}\n'


ESCAPES = [
    ("web-1 é 漢", "web-1 é 漢"),
    ("\x1b[31mred", "\\x1b[31mred"),
    ("\x1b]0;title\x07", "\\x1b]0;title\\x07"),
    ("two\nlines\r\t", "two\\nlines\\r\\t"),
    ("\x7f\x9b", "\\x7f\\x9b"),
    ("\u202egnp.exe", "\\u202egnp.exe"),
    ("\u2028", "\\u2028"),
    ("\udc80", "\\udc80"),
]


@pytest.mark.parametrize(("text", "shown"), ESCAPES)
def test_unprintable_characters_are_shown(capsys: pytest.CaptureFixture[str], text: str, shown: str) -> None:
    """Controls, line breaks, direction marks and stray bytes are printed as escapes, everything else as it is."""
    render.line(text)
    assert capsys.readouterr().out == f"{shown}\n"


@pytest.mark.parametrize("text", [text for text, _ in ESCAPES])
def test_json_is_safe_to_look_at_and_exact(capsys: pytest.CaptureFixture[str], text: str) -> None:
    """JSON holds no raw control character, and reads back as the very same text."""
    render.json({"name": text})
    out = capsys.readouterr().out
    assert out.replace("\n", "").isprintable()
    assert json.loads(out) == {"schema": 1, "name": text}


def test_errors_go_to_stderr_with_the_programs_name(capsys: pytest.CaptureFixture[str]) -> None:
    """An error is one escaped line on stderr, and stdout stays clean for whoever parses it."""
    render.error("label x=\x1b\n: bad")
    captured = capsys.readouterr()
    assert captured.err == "dockercni: label x=\\x1b\\n: bad\n"
    assert captured.out == ""


def test_a_name_that_the_encoding_lacks_is_escaped(monkeypatch: pytest.MonkeyPatch) -> None:
    """On an ASCII terminal foreign letters are shown as escapes."""
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="ascii", write_through=True))
    render.line("café")
    assert raw.getvalue() == b"caf\\xe9\n"
