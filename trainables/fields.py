"""What every config dataclass can do: check itself, be replaced by dotted names, be hashed."""

import dataclasses
import hashlib
import json
import math
import types
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

# A field with this metadata says where or how fast, not what: it is no part of the identity.
PLACE = {"place": True}
# The value that is left out of the identity, where it is not the default: that of before a default
# changed, `field(default="new", metadata={UNSAID: "old"})`. Trials at the old one keep their keys,
# and those at the new one get others: keys change with what is computed and with nothing else.
UNSAID = "unsaid"
# The name that the identity has for a field that is called otherwise by now.
SAID_UNDER = "said_under"


def said_as(name: str) -> dict[str, str]:
    """Metadata of a field for which the identity takes the attribute of that name: what a value
    stands for, so that two ways to write one thing are one trial."""
    return {"said_as": name}


def _fits(value: object, hint: Any) -> bool:
    origin, args = get_origin(hint), get_args(hint)
    if origin is Literal:
        return value in args
    if origin in (Union, types.UnionType):
        return any(_fits(value, arg) for arg in args)
    if origin is tuple:
        return isinstance(value, tuple) and all(_fits(v, args[0]) for v in value)
    if hint is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, hint)


def _shown(value: object) -> str:
    """A value in a sentence: Python writes no number of thousands of digits."""
    if isinstance(value, int) and abs(value) >= 10**30:
        return f"a number of {value.bit_length()} bits"
    return repr(value)


def _legal(hint: Any) -> str:
    origin, args = get_origin(hint), get_args(hint)
    if origin is Literal:
        return "one of " + ", ".join(map(str, args))
    if origin in (Union, types.UnionType):
        return " or ".join(_legal(arg) for arg in args)
    if origin is tuple:
        return f"a tuple of {args[0].__name__}"
    if hint is types.NoneType:
        return "None"
    return f"an {hint.__name__}" if hint is int else f"a {hint.__name__}"


@dataclass(frozen=True, kw_only=True)
class Checked:
    """Refuses at construction: a value of the wrong type, or out of its range."""

    def __post_init__(self) -> None:
        for name, hint in get_type_hints(type(self)).items():
            value = getattr(self, name)
            if not _fits(value, hint):
                raise ValueError(
                    f"{type(self).__name__}.{name} must be {_legal(hint)}, got {value!r}"
                )
            self._require_number(name)
            # 1 and 1.0 are one value and must make one key.
            if isinstance(value, int) and (hint is float or float in get_args(hint)):
                object.__setattr__(self, name, float(value))

    def _require_number(self, name: str) -> None:
        """What holds of every number: it fits a machine word, and is finite."""
        value = getattr(self, name)
        for number in value if isinstance(value, tuple) else (value,):
            if isinstance(number, int):
                self._require(abs(number) < 2**63, name, "fit into 64 bits")
            if isinstance(number, float):
                # NaN, or larger than any number that a computer has.
                self._require(math.isfinite(number), name, "be finite")

    def _require(self, holds: bool, name: str, rule: str) -> None:
        if not holds:
            value = getattr(self, name)
            raise ValueError(f"{type(self).__name__}.{name} must {rule}, got {_shown(value)}")

    def _require_positive(self, *names: str) -> None:
        for name in names:
            value = getattr(self, name)
            self._require(value is None or value > 0, name, "be positive")


def digest_of(value: object) -> str:
    """sha256, in hex, of anything that JSON can hold."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def identity(config: Any) -> dict[str, Any]:
    """The non-default fields that say what is computed, nested as the dataclasses are.

    A field whose default has changed is left out where it is as it was before.
    """
    said: dict[str, Any] = {}
    for item in dataclasses.fields(config):
        value = getattr(config, item.metadata.get("said_as", item.name))
        if item.metadata.get("place"):
            continue
        name = item.metadata.get(SAID_UNDER, item.name)
        if dataclasses.is_dataclass(value):
            # Present but empty differs from None: a recipe of defaults is not "no recipe".
            said[name] = identity(value)
        elif value != item.metadata.get(UNSAID, item.default):
            said[name] = value
    return said


def replaced(config: Any, overrides: Mapping[str, Any], path: str = "") -> Any:
    names = {item.name for item in dataclasses.fields(config)}
    changes: dict[str, Any] = {}
    nested: dict[str, dict[str, Any]] = {}
    for dotted, value in overrides.items():
        name, dot, rest = dotted.partition(".")
        if name not in names:
            raise ValueError(
                f"{type(config).__name__} has no field {name!r}; it has {', '.join(sorted(names))}"
            )
        if dot:
            nested.setdefault(name, {})[rest] = value
        else:
            changes[name] = value
    for name, inner in nested.items():
        part = changes.get(name, getattr(config, name))
        if not dataclasses.is_dataclass(part):
            raise ValueError(f"{path}{name} is {part!r} here: it has no field {next(iter(inner))}")
        changes[name] = replaced(part, inner, f"{path}{name}.")
    return dataclasses.replace(config, **changes)


def flat(config: Any, prefix: str = "") -> dict[str, Any]:
    """Every field under its dotted name: what MLflow shows as the params of a run."""
    params: dict[str, Any] = {}
    for item in dataclasses.fields(config):
        value = getattr(config, item.name)
        if dataclasses.is_dataclass(value):
            params |= flat(value, f"{prefix}{item.name}.")
        else:
            params[f"{prefix}{item.name}"] = value
    return params
