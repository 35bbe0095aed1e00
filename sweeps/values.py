"""What the values of options mean, each refused in one sentence where it means nothing."""

import argparse
import ast
import math
import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from trainables.workspace import at_home

_SLOWEST, _FASTEST = 1e-3, 1e9  # images per second
_LONGEST = 10_000  # characters of a value


def value_of(text: str) -> Any:
    """What a value on the command line stands for: Python's literals, and all else is text.

    Raises ValueError for numbers that are not finite, and for what is too long for any field.
    """
    if len(text) > _LONGEST:
        raise ValueError(f"a value must have at most {_LONGEST:,} characters, got {len(text):,}")
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return text
    if not _is_finite(value):
        raise ValueError(f"a value must be finite, got {text}")
    return value


def _is_finite(value: object) -> bool:
    if isinstance(value, (tuple, list, set)):
        return all(map(_is_finite, value))
    return not isinstance(value, (float, complex)) or math.isfinite(abs(value))


def values_of(text: str) -> list[Any]:
    """The values of an axis, "0.5,0.8" or "('a', 'b'),()": commas inside brackets part nothing."""
    return [value_of(v) for v in joined(text.split(","), ",", _is_closed) if v]


def joined(parts: Sequence[str], separator: str, is_whole: Callable[[str], bool]) -> list[str]:
    """The parts of a text, with those put together again that are whole only together."""
    whole: list[str] = []
    at = 0
    while at < len(parts):
        ends = range(at + 1, len(parts) + 1)
        end = next((e for e in ends if is_whole(separator.join(parts[at:e]))), at + 1)
        whole.append(separator.join(parts[at:end]))
        at = end
    return whole


def _is_closed(text: str) -> bool:
    if not text.strip().startswith(("(", "[", "'", '"')):
        return True
    try:
        ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return False
    return True


def unique(pairs: Sequence[tuple[str, Any]], what: str) -> dict[str, Any]:
    """The pairs as a dict. Raises ValueError for a name that is given twice."""
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"{what} must name {twice} once, got it {names.count(twice)} times")
    return found


def pair(text: str) -> tuple[str, str]:
    """NAME and VALUE. As all below it raises argparse's error, in one sentence."""
    name, equals, value = text.partition("=")
    if not equals or not name.strip():
        raise argparse.ArgumentTypeError(f"must be NAME=VALUE, got {text!r}")
    return name.strip(), value


def number(least: float, most: float) -> Callable[[str], float]:
    """What reads a number from `least` to `most`."""

    def one(text: str) -> float:
        try:
            # Python's own would also take other scripts' digits, and 1_0 for 10.
            value = math.nan if "_" in text or not text.isascii() else float(text)
        except ValueError:
            value = math.nan
        if not least <= value <= most:
            raise argparse.ArgumentTypeError(
                f"must be a number from {least:g} to {most:,.0f}, got {text!r}"
            )
        return value

    return one


def speed(text: str) -> tuple[float, float]:
    """Images per second, in training and in evaluation."""
    numbers = [number(_SLOWEST, _FASTEST)(part) for part in text.split(",")]
    if len(numbers) != 2:
        raise argparse.ArgumentTypeError(
            f"must be TRAIN,EVALUATE in images per second, got {text!r}"
        )
    return numbers[0], numbers[1]


def size(text: str) -> float:
    """Bytes."""
    found = re.fullmatch(r"([0-9.]+) ?(kB|MB|GB|TB)", text.strip())
    if not found:
        raise argparse.ArgumentTypeError(f"must be a size such as 500MB or 2GB, got {text!r}")
    units = {"kB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12}
    return number(0, 1e6)(found[1]) * units[found[2]]


def port(text: str) -> int:
    """A port of TCP."""
    # isdecimal alone would let other scripts' digits through.
    if not (text.isascii() and text.isdecimal() and len(text) < 6 and 1 <= int(text) <= 65_535):
        raise argparse.ArgumentTypeError(f"must be a port from 1 to 65535, got {text!r}")
    return int(text)


def shell(text: str) -> str:
    """A command for /bin/sh."""
    if not text.strip() or "\0" in text:
        raise argparse.ArgumentTypeError(f"must be a command, got {text!r}")
    return text


def folder(text: str) -> Path:
    """A folder that is there or may be made, with the home folder for its `~`."""
    if "://" in text:
        raise argparse.ArgumentTypeError(
            f"must be a folder that all nodes see, got {text!r}; what trials end with goes to an "
            "object store through MLflow's server"
        )
    if not text.strip() or "\0" in text:
        raise argparse.ArgumentTypeError(f"must name a folder, got {text!r}")
    try:
        folder = at_home(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    try:
        os.fsencode(folder.resolve()).decode("utf-8")
    except UnicodeDecodeError as error:
        raise argparse.ArgumentTypeError(
            f"must be a folder with a name that is text (UTF-8), got {text!r}"
        ) from error
    except (OSError, RuntimeError) as error:  # a loop of links is either, by Python's version
        raise argparse.ArgumentTypeError(
            f"must be a folder or the name of a new one, {text!r} cannot be followed: a link that "
            f"leads to itself ({type(error).__name__})"
        ) from error
    return folder
