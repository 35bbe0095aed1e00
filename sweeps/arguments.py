"""The command line: its verbs, their options, and what the values of options mean."""

import argparse
import ast
import math
import os
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from sweeps.studies import study_names
from trainables.workspace import at_home

_VERBS = {
    "new": "write a commented study of your own to begin with",
    "sweep": "run what is not done yet of a study, then report",
    "plan": "list what would run; starts nothing",
    "score": "score a network that was pruned elsewhere, beside its dense one",
    "sync": "deliver to MLflow what sweeps could not, while it was away",
    "status": "say what runs, what is done, what waits, and what it takes on the disk",
    "clean": "say what nobody needs in a results folder; with --remove, remove it",
    "report": "rebuild tables and figures from MLflow alone",
    "register": "put the best network of every method and rate into MLflow's model registry",
    "ui": "open MLflow's web pages on what the results folder holds",
}
_SLOWEST, _FASTEST = 1e-3, 1e9  # images per second
_MOST_GPUS = 100_000
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


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name.strip():
        raise argparse.ArgumentTypeError(f"must be NAME=VALUE, got {text!r}")
    return name.strip(), value


def _number(least: float, most: float) -> Callable[[str], float]:
    def number(text: str) -> float:
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

    return number


def _speed(text: str) -> tuple[float, float]:
    numbers = [_number(_SLOWEST, _FASTEST)(number) for number in text.split(",")]
    if len(numbers) != 2:
        raise argparse.ArgumentTypeError(
            f"must be TRAIN,EVALUATE in images per second, got {text!r}"
        )
    return numbers[0], numbers[1]


def _bytes(text: str) -> float:
    found = re.fullmatch(r"([0-9.]+) ?(kB|MB|GB|TB)", text.strip())
    if not found:
        raise argparse.ArgumentTypeError(f"must be a size such as 500MB or 2GB, got {text!r}")
    units = {"kB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12}
    return _number(0, 1e6)(found[1]) * units[found[2]]


def _port(text: str) -> int:
    # isdecimal alone would let other scripts' digits through.
    if not (text.isascii() and text.isdecimal() and len(text) < 6 and 1 <= int(text) <= 65_535):
        raise argparse.ArgumentTypeError(f"must be a port from 1 to 65535, got {text!r}")
    return int(text)


def _folder(text: str) -> Path:
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


class _Parser(argparse.ArgumentParser):
    """Refuses in one sentence, as all else here does."""

    def error(self, message: str) -> NoReturn:
        from sweeps.terminal import refuse

        refuse(f"{message} ({self.prog} --help lists what there is)")
        sys.exit(2)


def parser() -> argparse.ArgumentParser:
    """Of `python -m sweeps`."""
    top = _Parser(
        prog="secateur" if Path(sys.argv[0]).name == "secateur" else "python -m sweeps",
        description="Prune networks, and see whether they become easier to understand.",
        allow_abbrev=False,
    )
    verbs = top.add_subparsers(dest="verb", required=True, metavar="VERB")
    studies = ", ".join(study_names())
    for verb, help_ in _VERBS.items():
        sub = verbs.add_parser(verb, help=help_, description=help_, allow_abbrev=False)
        if verb == "new":
            sub.add_argument("file", help="a Python file that is not there yet, e.g. mine.py")
            continue
        sub.add_argument(
            "--results",
            type=_folder,
            default=Path("results"),
            help="folder of everything that is written (default: results)",
        )
        if verb == "ui":
            sub.add_argument(
                "--port", type=_port, help="of MLflow's pages (default: 5000, or the next free one)"
            )
        if verb == "score":
            _add_score(sub)
        if verb == "clean":
            _add_clean(sub)
        if verb in ("ui", "sync", "status", "clean", "score"):
            continue
        also = ", or published: the points that others released" if verb == "report" else ""
        sub.add_argument(
            "--study",
            help=f"one of {studies}{also}, or a Python file of your own (default: demo, or folder "
            "where --data is given)",
        )
        if verb in ("report", "register"):
            sub.add_argument("--sweep", help="key of a sweep (default: the study's latest)")
            continue
        _add_changes(sub)
        if verb == "plan":
            _add_cost(sub)
    return top


def _add_changes(sub: argparse.ArgumentParser) -> None:
    """What may be changed of a study without editing it."""
    sub.add_argument(
        "--data",
        help="an image folder with train/ and val/, or its URI, such as s3://bucket/imagenet",
    )
    sub.add_argument(
        "--grid",
        type=_pair,
        action="append",
        default=[],
        metavar="AXIS=V,V,…",
        help="other values for an axis of the study, e.g. rate=0.5,0.8; none: no such grid",
    )
    _add_settings(sub)
    sub.add_argument(
        "--stop",
        nargs="?",
        const="1",
        metavar="1|best|0",
        help="early stopping of hopeless trials: 1 or alone, beside others that agree on what the "
        "study asks about; best, methods compete for the best network of each rate; 0, none "
        "(default: as the study says)",
    )


def _add_settings(sub: argparse.ArgumentParser) -> None:
    sub.add_argument(
        "--set",
        type=_pair,
        action="append",
        default=[],
        metavar="FIELD=VALUE",
        help="a field of every trial that has it, e.g. finetune.epochs=1",
    )


def _add_score(sub: argparse.ArgumentParser) -> None:
    """What is scored, and what it is compared with."""
    sub.add_argument("pruned", help="a file with the state_dict of the pruned network")
    sub.add_argument(
        "--network",
        required=True,
        metavar="NAME",
        help="what it is: a network of torchvision, timm:NAME or package.module:function",
    )
    sub.add_argument(
        "--against",
        required=True,
        metavar="FILE",
        help="the state_dict of the dense network it was made of, or imagenet: torchvision's",
    )
    sub.add_argument("--data", required=True, help="an image folder, or its URI")
    _add_settings(sub)


def _add_clean(sub: argparse.ArgumentParser) -> None:
    """What may be removed of a results folder; its results never are."""
    sub.add_argument(
        "--caches",
        action="store_true",
        help="also what is made anew when it is needed: vectors, decoded and drawn images",
    )
    sub.add_argument(
        "--older-than",
        type=_number(0, 36_500),
        default=0.0,
        metavar="DAYS",
        help="only what nobody has used for so many days",
    )
    sub.add_argument(
        "--larger-than", type=_bytes, default=0.0, metavar="SIZE", help="only what is, e.g. 500MB"
    )
    sub.add_argument(
        "--remove", action="store_true", help="remove it; without this it is only listed"
    )


def _add_cost(sub: argparse.ArgumentParser) -> None:
    """What a plan may be given instead of measuring it."""
    sub.add_argument(
        "--speed",
        type=_speed,
        metavar="TRAIN,EVALUATE",
        help="images per second of one trial on its share of a machine, in training and in "
        "evaluation (default: a few steps are measured here)",
    )
    sub.add_argument(
        "--gpus", type=_number(0.01, _MOST_GPUS), help="how many there will be (default: here)"
    )
