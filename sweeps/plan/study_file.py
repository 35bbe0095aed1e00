"""A study that is a file of the user's, wherever it lies."""

import dataclasses
import importlib.util
import sys
import traceback
from pathlib import Path

from sweeps.plan.sweep import Sweep
from trainables.own_code import look_also_in
from trainables.own_settings import SettingChanged, settings_kept
from trainables.workspace import at_home


def load_study_file(name: str, taken: list[str]) -> Sweep:
    """The sweep `STUDY` of a Python file; it is called as its file is.

    It may import what lies beside it, and so may networks, data sets and criteria of the user's
    that it names as "module:function": such code is found beside the study, too.
    taken: names that such a file cannot have. Raises ValueError, in one sentence, for a file that
    is not there, cannot be run, or holds no such sweep.
    """
    path = at_home(name).resolve()
    if path.suffix != ".py" or not path.is_file():
        raise ValueError(f"STUDY must be a study's name, or a Python file, there is no {path}")
    if path.stem in taken:
        raise ValueError(
            f"a study is called as its file is, and {path.stem} is one that comes with Secateur: "
            f"give {path} another name"
        )
    look_also_in(path.parent)
    study = getattr(_run(path), "STUDY", None)
    if not isinstance(study, Sweep):
        kind = "nothing of that name" if study is None else f"a {type(study).__name__}"
        raise ValueError(f"{path} must hold STUDY = Sweep(…), it has {kind}")
    return dataclasses.replace(study, name=path.stem)


def _run(path: Path) -> object:
    """The module of the file. What lies beside it can be imported from here on."""
    spec = importlib.util.spec_from_file_location(f"study_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise ValueError(f"STUDY must be a Python file, got {path}")
    module = importlib.util.module_from_spec(spec)
    beside = str(path.parent)
    sys.path.insert(0, beside)
    try:
        with settings_kept(str(path), "STUDY"):
            spec.loader.exec_module(module)
    except (KeyboardInterrupt, SettingChanged):
        raise
    except BaseException as error:  # whatever a file does, sys.exit() included
        raise ValueError(f"{path} must be a study, it fails: {_where(error, path)}") from error
    finally:
        sys.path.remove(beside)
        if beside not in sys.path:
            sys.path.append(beside)  # behind all that is installed, for what is imported later
    return module


def _where(error: BaseException, path: Path) -> str:
    """What went wrong, and the line of the user's file."""
    frames = traceback.extract_tb(error.__traceback__)
    line = next((f.lineno for f in reversed(frames) if Path(f.filename) == path), None)
    line = line or getattr(error, "lineno", None)
    first = next((text for text in str(error).splitlines() if text.strip()), "no more is said")
    at = "" if line is None else f"line {line}: "
    return f"{at}{type(error).__name__}: {first.strip()[:300]}"
