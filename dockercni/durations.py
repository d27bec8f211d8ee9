"""Durations as users write them: "500ms", "10s", "5m", "1h"."""

import re
from typing import Final

ALLOWED: Final = 'a duration with its unit, such as "500ms", "10s", "5m" or "1h"'
_SECONDS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


def seconds(text: str) -> float:
    """Parse a duration into seconds. Raises ValueError."""
    match = re.fullmatch("([0-9]{1,6})(ms|s|m|h)", text)
    if match is None or not int(match[1]):
        raise ValueError(text)
    return int(match[1]) * _SECONDS[match[2]]


def spelled(value: float) -> str:
    """Write seconds as `seconds` reads them, in the largest unit that is exact."""
    unit = next((unit for unit in ("h", "m", "s") if value % _SECONDS[unit] == 0), "ms")
    return f"{round(value / _SECONDS[unit])}{unit}"
