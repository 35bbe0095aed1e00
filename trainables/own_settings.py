"""What a user's code may not do to the process that it runs in, and where in it an error arose."""

import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import torch

T = TypeVar("T")

_SETTINGS: dict[str, tuple[Callable[[], Any], Callable[[Any], Any]]] = {
    "default dtype": (torch.get_default_dtype, torch.set_default_dtype),
    # None: none of ours is set for good.
    "default device": (torch.get_default_device, lambda _: torch.set_default_device(None)),
    "gradients": (torch.is_grad_enabled, torch.set_grad_enabled),
    "number of threads": (torch.get_num_threads, torch.set_num_threads),
    "precision of products": (
        torch.get_float32_matmul_precision,
        torch.set_float32_matmul_precision,
    ),
    "deterministic algorithms": (
        torch.are_deterministic_algorithms_enabled,
        torch.use_deterministic_algorithms,
    ),
}


class SettingChanged(ValueError):
    """A user's code has changed a setting of the whole process."""


@contextmanager
def settings_kept(name: str, field: str = "network.name") -> Iterator[None]:
    """While code of the function `name` runs, which `field` names; all settings are as they were
    when this ends.

    Raises SettingChanged where the code has changed one that others' numbers depend on.
    """
    before = _settings()
    try:
        yield
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        if changed := _put_back(f"{field}={name!r}", before):
            raise SettingChanged(changed) from error  # which is likely why
        raise
    if changed := _put_back(f"{field}={name!r}", before):
        raise SettingChanged(changed)


def called(
    field: str, name: str, must: str, call: Callable[[], T], shown: Callable[[str], str] = str
) -> T:
    """What code of the user's own gives, which `field` names.

    must: what holds and did not, up to the word "raises". shown: makes an error's line fit to be
    seen. Raises ValueError for whatever the code raises, sys.exit() included, SettingChanged as
    `settings_kept`, and KeyboardInterrupt.
    """
    try:
        with settings_kept(name, field):
            return call()
    except (KeyboardInterrupt, SettingChanged):
        raise
    except BaseException as error:
        why = shown(told(error, root_of(name)))
        raise ValueError(f"{field}={name!r} must {must} raises {why}") from error


def _settings() -> dict[str, Any]:
    return {what: get() for what, (get, _) in _SETTINGS.items()}


def _put_back(name: str, before: dict[str, Any]) -> str:
    """What is wrong with the settings, "" where nothing is."""
    changed = {what: value for what, value in _settings().items() if value != before[what]}
    for what in changed:
        _SETTINGS[what][1](before[what])
    for what, value in changed.items():
        return (
            f"{name} must leave torch's {what} as it was, {before[what]}: its code "
            f"makes it {value} for the whole process"
        )
    return ""


def told(error: BaseException, root: Path | None) -> str:
    """An error in a line: its class, what it says, and where in the code below `root` it arose."""
    first = (str(error).strip() or "no more is said").splitlines()[0][:200]
    said = f"{type(error).__name__}: {first}"
    frames = [] if root is None else traceback.extract_tb(error.__traceback__)
    own = [f for f in frames if root is not None and Path(f.filename).is_relative_to(root)]
    if not own or root is None:
        return said
    return f"{said} ({Path(own[-1].filename).relative_to(root)}, line {own[-1].lineno})"


def root_of(name: str) -> Path | None:
    """The folder from which the module of a user's function was imported."""
    module = name.partition(":")[0]
    file = getattr(sys.modules.get(module), "__file__", None)
    if file is None:
        return None
    return Path(file).parents[module.count(".") + (Path(file).name == "__init__.py")]
