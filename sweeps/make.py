"""python -m sweeps.make VERB: make's variables, from the environment, as the options of a verb."""

import ast
import os
import re
import sys
from collections.abc import Mapping, Sequence

from sweeps.values import joined

_PLANNED = ("STUDY", "DATA", "GRID", "SET", "STOP")
VARIABLES = {
    "sweep": ("RESULTS", *_PLANNED, "THEN"),
    "plan": ("RESULTS", *_PLANNED, "SPEED", "GPUS", "CPUS"),
    "report": ("RESULTS", "STUDY"),
    "register": ("RESULTS", "STUDY"),
    "sync": ("RESULTS",),
    "status": ("RESULTS",),
    "clean": ("RESULTS", "CACHES", "OLDER_THAN", "LARGER_THAN", "REMOVE"),
    "export": ("RESULTS", "STUDY", "TO", "TRIAL"),
    "ui": ("RESULTS", "PORT"),
    "new": ("FILE",),
}
"""Verb -> the variables of make that it knows."""

_MEANING = {
    "STUDY": "name a study, or a file of your own",
    "RESULTS": "name a folder",
    "DATA": "name a folder of images, its URI, or a data set",
    "GRID": "be AXIS=VALUE,VALUE …",
    "SET": "be FIELD=VALUE …",
    "STOP": "be 1, best or 0",
    "SPEED": "be TRAIN,EVALUATE in images per second",
    "GPUS": "be a number",
    "CPUS": "be a number",
    "PORT": "be a number",
    "FILE": "name a Python file that is not there yet",
    "TRIAL": "name a finished trial, or its key",
    "TO": "name a folder",
    "THEN": "be a command",
    "OLDER_THAN": "be a number of days",
    "LARGER_THAN": "be a size such as 500MB or 2GB",
    "CACHES": "be yes",
    "REMOVE": "be yes",
}
_SWITCHES = ("CACHES", "REMOVE")
_NEEDED = {"FILE": "FILE=mine.py", "TRIAL": 'TRIAL="structured 0.5 one_shot"'}
"""Variable without which its verb cannot be, and has no option -> an example."""


def options(verb: str, variables: Mapping[str, str]) -> list[str]:
    """The command line of a verb. Raises ValueError for a variable without a value."""
    words = [verb]
    for name in VARIABLES[verb]:
        if name not in variables:
            if name in _NEEDED:
                raise ValueError(f"{name} must {_MEANING[name]}: {_NEEDED[name]}")
            continue
        value = variables[name]
        if not value.strip():
            raise ValueError(f"{name} must {_MEANING[name]}, got an empty value; else leave it out")
        if name in _NEEDED:
            words += ["--", value]
            continue
        option = f"--{name.lower().replace('_', '-')}"
        if name in _SWITCHES:
            if value != "yes":
                raise ValueError(f"{name} must {_MEANING[name]}, got {value!r}; else leave it out")
            words.append(option)
            continue
        values = pairs(value) if name in ("GRID", "SET") else [value]
        words += [f"{option}={each}" for each in values]
    return words


def pairs(text: str) -> list[str]:
    """ "a=1 b=x y c=('d', 'e')" as "a=1", "b=x y", "c=('d', 'e')".

    A value ends before the next NAME=; one that begins as Python's tuples, lists and strings do,
    where it is complete.
    """
    return joined(re.split(r"\s+(?=[A-Za-z_][\w.]*=)", text.strip()), " ", _is_whole)


def _is_whole(pair: str) -> bool:
    value = pair.partition("=")[2]
    if not value.startswith(("(", "[", "{", "'", '"')):
        return True
    try:
        ast.literal_eval(value)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return False
    return True


def main(words: Sequence[str]) -> int:
    """As `python -m sweeps`, with the options that make's variables give."""
    from sweeps.__main__ import main, refused

    try:
        return main(options(words[0], os.environ))
    except ValueError as error:
        return refused(error)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
