"""An effect: a field of a trial, and in which trials it does something."""

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

Values = Mapping[str, Any]
"""Dotted field of a TrialConfig -> value, as `flat` gives it."""


@dataclass(frozen=True)
class Effect:
    """A field, in which trials it does something, and the values that it may have in others."""

    field: str
    holds: Callable[[Values], bool]
    neutral: tuple[Any, ...]  # the first is its default
    why: str  # of refusing any other


def effect(field: str, part: type, holds: Callable[[Values], bool], why: str) -> Effect:
    name = field.rpartition(".")[2]
    default = next(item.default for item in dataclasses.fields(part) if item.name == name)
    return Effect(field, holds, (default,), why)
