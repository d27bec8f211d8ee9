"""JSON, read strictly and written compactly. No other module reads or writes the JSON of CNI.

As in Go's decoder, which a drop-in replacement must match: keys match in any case, null counts as absent, wrong types
are errors, the last of equal keys wins, invalid UTF-8 and lone surrogates become U+FFFD. Unlike there, integers above
2^53 stay exact.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn

from dockercni.cni.errors import CNIError, ErrorCode

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

MAX_DEPTH = 200  # well below the depth at which writing the document exhausts the interpreter's stack
_INT64 = range(-(2**63), 2**63)
# whole pairs match first, so the second group matches only halves without a partner
_SURROGATES = re.compile(r"\\(?:u[dD][89abAB]\w\w\\u[dD][c-fC-F]\w\w|(u[dD][89a-fA-F]\w\w)|.)", re.DOTALL)
_SPACE = re.compile(r"[ \t\r\n]*")


class DocumentError(CNIError):
    """Something is wrong with a document; callers turn this into an error of their own kind.

    `key` is the JSON path, `present` is whether it has a value, `position` is the line and column of a syntax error.
    """

    def __init__(
        self,
        problem: str,
        *,
        key: str = "",
        present: bool = False,
        position: tuple[int, int] | None = None,
        code: ErrorCode = ErrorCode.DECODING_FAILURE,
    ) -> None:
        super().__init__(f"{key}: {problem}" if key else problem, code)
        self.problem = problem
        self.key = key
        self.present = present
        self.position = position


def decode(data: bytes, *, depth: int = MAX_DEPTH) -> Any:
    """Return the value that `data` holds. Raises DocumentError, with the position of a syntax error."""
    text = data.decode("utf-8", "replace")
    if "\\ud" in text or "\\uD" in text:
        text = _SURROGATES.sub(lambda match: "\\ufffd" if match[1] else match[0], text)
    try:
        value = json.loads(text, parse_constant=_reject_constant, parse_float=_finite)
    except json.JSONDecodeError as error:
        raise _syntax_error(text, error) from None
    except RecursionError:
        raise DocumentError("nested too deeply") from None
    except ValueError as error:
        raise DocumentError(_number_problem(error)) from None
    # for nearly every document it is enough to count brackets
    if text.count("{") + text.count("[") > depth and _deeper_than(value, depth):
        raise DocumentError(f"nested deeper than {depth} levels")
    return value


def repeated(data: bytes, name: str) -> str:
    """A key that occurs twice in an object called `name`, anywhere in the JSON `data`; "" if there is none.

    `decode` keeps the last value, as Go does.
    """
    if name not in (text := data.decode("utf-8", "replace")).lower():  # nearly every document is done here
        return ""
    found: list[str] = []

    def _look(pairs: list[tuple[str, Any]]) -> Any:
        for key, value in pairs:
            if key.lower() == name and isinstance(value, _Pairs):
                found.extend(value.repeated)
        return _Pairs(pairs)

    json.loads(text, object_pairs_hook=_look)
    return next(iter(found), "")


class _Pairs:
    """Keeps of an object only the keys that it has more than once."""

    __slots__ = ("repeated",)

    def __init__(self, pairs: list[tuple[str, Any]]) -> None:
        keys = [key for key, _ in pairs]
        self.repeated = [key for number, key in enumerate(keys) if key in keys[:number]]


def encode(value: Any) -> bytes:
    """Return `value` as compact JSON, in ASCII."""
    return json.dumps(value, separators=(",", ":"), allow_nan=False).encode("ascii")


def locate(data: bytes, key: str) -> tuple[int, int] | None:
    """Return line and column of the value of `key` (the last part of that path) if the key occurs exactly once."""
    text = data.decode("utf-8", "replace")
    name = re.escape(key.rpartition(".")[2])
    found = list(re.finditer(rf'"{name}"\s*:\s*', text, re.IGNORECASE))
    if len(found) != 1:
        return None
    start = found[0].end()
    return text.count("\n", 0, start) + 1, start - text.rfind("\n", 0, start)


def lookup(values: Mapping[str, Any], key: str) -> Any:
    """Return what `values` has for `key`, in any case as Go would (the exact key wins); None if absent or null."""
    return Fields(values).get(key)


def shown(value: Any) -> str:
    """Return `value` as JSON, cut to 60 characters for a message."""
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else text[:57] + "..."


@dataclass(frozen=True, slots=True)
class Fields:
    """A JSON object read with types. Every reader raises DocumentError, with the key's path, for a wrong type."""

    values: Mapping[str, Any]
    path: str = ""
    any_case: bool = True

    @classmethod
    def of(cls, value: Any, path: str = "", *, any_case: bool = True) -> Fields:
        """Wrap `value`, which has to be an object."""
        if not isinstance(value, dict):
            problem = f"must be an object, not {shown(value)}"
            raise DocumentError(problem, key=path, code=ErrorCode.INVALID_CONFIGURATION)
        return cls(value, path, any_case)

    def at(self, key: str) -> str:
        """Return the path of `key`, such as `plugins[0].mtu`."""
        return f"{self.path}.{key}" if self.path else key

    def fail(self, key: str, problem: str) -> NoReturn:
        """Raise DocumentError for `key`."""
        present = self.get(key) is not None
        raise DocumentError(problem, key=self.at(key), present=present, code=ErrorCode.INVALID_CONFIGURATION)

    def get(self, key: str) -> Any:
        """Return the value as it is; None if absent or null."""
        values = self.values
        if key in values:
            return values[key]
        if self.any_case:
            folded = key.lower()
            for name in values:
                if name.lower() == folded:
                    return values[name]
        return None

    def string(self, key: str) -> str:
        """Return a string; "" if absent."""
        value = self.get(key)
        if value is not None and not isinstance(value, str):
            self.fail(key, f"must be a string, not {shown(value)}")
        return value or ""

    def boolean(self, key: str) -> bool:
        """Return true or false; false if absent."""
        value = self.get(key)
        if value is not None and not isinstance(value, bool):
            self.fail(key, f"must be true or false, not {shown(value)}")
        return value or False

    def integer(self, key: str) -> int | None:
        """Return an integer that fits into 64 bits; None if absent. 1.0 and true are none, as in Go."""
        value = self.get(key)
        if value is None:
            return None
        if not isinstance(value, int) or isinstance(value, bool) or value not in _INT64:
            self.fail(key, f"must be a 64-bit integer, not {shown(value)}")
        return value

    def object(self, key: str) -> Fields:
        """Return an object; an empty one if absent."""
        value = self.get(key)
        if value is not None and not isinstance(value, dict):
            self.fail(key, f"must be an object, not {shown(value)}")
        return Fields(value or {}, self.at(key))

    def array(self, key: str) -> list[Any]:
        """Return an array; an empty one if absent."""
        value = self.get(key)
        if value is not None and not isinstance(value, list):
            self.fail(key, f"must be an array, not {shown(value)}")
        return value or []

    def strings(self, key: str) -> tuple[str, ...]:
        """Return an array of strings; an empty one if absent."""
        values = self.array(key)
        for index, value in enumerate(values):
            if not isinstance(value, str):
                self.fail(f"{key}[{index}]", f"must be a string, not {shown(value)}")
        return tuple(values)

    def objects(self, key: str) -> Iterator[Fields]:
        """Yield an array's objects, each with its own path."""
        for index, value in enumerate(self.array(key)):
            yield Fields.of(value, self.at(f"{key}[{index}]"))


class _NumberError(ValueError):
    """A number that JSON does not have, or that is too large."""


def _reject_constant(name: str) -> NoReturn:
    raise _NumberError(f"{name} is not JSON")


def _finite(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise _NumberError(f"number {text[:20]} is too large")
    return number


def _number_problem(error: ValueError) -> str:
    # the only other ValueError is the interpreter's limit on the digits of an integer
    return str(error) if isinstance(error, _NumberError) else "an integer has too many digits"


def _syntax_error(text: str, error: json.JSONDecodeError) -> DocumentError:
    if not text.strip():
        return DocumentError("is empty")
    problem = (error.msg[0].lower() + error.msg[1:]).removesuffix(" at")
    if text.startswith("\ufeff"):
        problem = "starts with a byte order mark"
    elif text.startswith(("//", "/*", "#"), _after_space(text, error.pos)):
        problem += " (JSON has no comments)"
    return DocumentError(problem, position=(error.lineno, error.colno))


def _after_space(text: str, start: int) -> int:
    match = _SPACE.match(text, start)
    return start if match is None else match.end()


def _deeper_than(value: Any, levels: int) -> bool:
    row = [value]
    for _ in range(levels):
        row = [child for parent in row for child in _children(parent) if isinstance(child, dict | list)]
    return bool(row)


def _children(value: Any) -> Iterable[Any]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()
