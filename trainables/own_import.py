"""The copy of a user's own code that a results folder keeps, and its import.

Code is copied once to RESULTS/code/<digest>, which all nodes of a cluster see: the driver and every
worker import that copy, so that what a trial was made of stays.
"""

import importlib
import shutil
import sys
import uuid
from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

from trainables.own_code import CODE_FOLDER, OURS, Own, OwnCode, find_code, own_places
from trainables.own_settings import SettingChanged, settings_kept, told
from trainables.workspace import own_path

T = TypeVar("T")

_LOADED: dict[tuple[Path, str], str] = {}  # root and module -> digest of what was imported


def hold_code(own: Own, results: Path) -> None:
    """Copy code of the user's own to RESULTS/code/<digest>, where it is not yet, and let this
    process import it; nothing of what has no digest yet.

    Raises ValueError where it has changed since the digest was taken.
    """
    field, name, digest = own.field, own.name, own.digest
    if not digest:
        return
    folder = own_path(results, CODE_FOLDER, digest)
    if not folder.is_dir():
        code = find_code(name, field)
        _require_same(f"{field}={name!r}", digest, code)
        partial = folder.with_name(f".{digest}.{uuid.uuid4().hex}")
        try:
            for each in code.files:
                (partial / each).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(code.root / each, partial / each)
            if not folder.is_dir():
                partial.rename(folder)
        except OSError:
            if not folder.is_dir():  # else another process was faster
                raise
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    _require_same(f"{field}={name!r}", digest, _copied(folder))
    offer_code(digest, results)


def offer_code(digest: str, results: Path) -> None:
    """Let this process import the code of that digest which a results folder holds, if it does."""
    if not digest:
        return
    folder = str(results.resolve() / CODE_FOLDER / digest)
    if Path(folder).is_dir() and folder not in sys.path:
        sys.path.append(folder)


def _copied(folder: Path) -> OwnCode:
    files = (p.relative_to(folder).as_posix() for p in folder.rglob("*.py"))
    return OwnCode(folder, tuple(sorted(files)))


def _require_same(name: str, digest: str, code: OwnCode) -> None:
    if code.digest == digest:
        return
    if code.root.parent.name == CODE_FOLDER:
        raise ValueError(
            f"the copy of the code of {name} in {code.root} must stay as it was "
            "made, it has changed: remove that folder, and it is copied anew"
        )
    raise ValueError(
        f"the code of {name} must stay as it was when the sweep was planned, "
        f"that in {code.root} is another; plan it anew"
    )


def kept_by_code(make: Callable[[str, str], T]) -> Callable[[str, str], T]:
    """`make(name, code)` once per code; anew each time where the code is not known yet."""
    known = lru_cache(64)(make)
    return lambda name, code: known(name, code) if code else make(name, code)


def own_function(name: str, digest: str, field: str = "network.name") -> Callable[..., Any]:
    """The function that "package.module:function" names, from the copy that `hold_code` has made,
    else from where the user stands.

    Raises ValueError where the module cannot be imported, or has no such function.
    """
    module, _, attribute = name.partition(":")
    held = (Path(p) for p in sys.path if digest and Path(p).name == digest)
    code = next((_copied(p) for p in held if p.parent.name == CODE_FOLDER), None)
    code = code or find_code(name, field)
    if digest:
        _require_same(f"{field}={name!r}", digest, code)
    try:
        with settings_kept(name, field):
            imported = _imported(module, code)
    except KeyboardInterrupt:
        raise
    except SettingChanged:
        for known, loaded in list(sys.modules.items()):
            if _is_of(loaded, code.root):  # else the next import would find it, and change nothing
                del sys.modules[known]
        raise
    except BaseException as error:  # whatever a module does, sys.exit() included
        if isinstance(error, ValueError) and "run time" in str(error):
            raise
        if isinstance(error, ModuleNotFoundError) and error.name:
            what = f"it imports {error.name}, which is not there"
        else:
            what = told(error, code.root)
        raise ValueError(f"the module of {field}={name!r} cannot be imported: {what}") from error
    function = getattr(imported, attribute, None)
    if not callable(function):
        there = [n for n, v in vars(imported).items() if callable(v) and not n.startswith("_")]
        raise ValueError(
            f"{field}={name!r} must name a function, {module} has none of that name; it has "
            f"{', '.join(sorted(there)) or 'none'}"
        )
    return function


def own_class(name: str, digest: str, field: str, bases: Mapping[str, type]) -> type[Any]:
    """The class that "package.module:Class" names, as `own_function`.

    bases: what it may derive from, by the name that a user imports it by. Raises ValueError, in one
    sentence, for what derives from none of them, and for methods that it lacks.
    """
    kind = own_function(name, digest, field)
    if not (isinstance(kind, type) and issubclass(kind, tuple(bases.values()))):
        known = " or ".join(bases)
        raise ValueError(f"{field}={name!r} must be a class derived from {known}")
    if missing := sorted(getattr(kind, "__abstractmethods__", ())):
        raise ValueError(f"{field}={name!r} must define {' and '.join(missing)}, it does not")
    return kind


def _imported(module: str, code: OwnCode) -> Any:
    """The module, out of that folder and no other: there may be others of its name, or earlier
    states of it. It stands first for as long as the import takes; no name in it is another's."""
    tops = {name.partition("/")[0].removesuffix(".py") for name in code.files}
    digest = code.digest
    is_as_loaded = _LOADED.get((code.root, module)) == digest  # else it was edited since
    for known, there in list(sys.modules.items()):
        if known.partition(".")[0] in tops and not (is_as_loaded and _is_one_of(there, code)):
            del sys.modules[known]
    before, sys.path[:0] = list(sys.path), [str(code.root)]
    loaded = set(sys.modules)
    importlib.invalidate_caches()
    try:
        imported = importlib.import_module(module)
    finally:
        sys.path[:] = before
    _LOADED[code.root, module] = digest
    _require_all_copied(loaded, code)
    return imported


def _is_one_of(module: Any, code: OwnCode) -> bool:
    """Whether it is of these files; a results folder in the user's own holds copies of others."""
    file = getattr(module, "__file__", None)
    if file is None:
        return _is_of(module, code.root)
    path = Path(file)
    return path.is_relative_to(code.root) and str(path.relative_to(code.root)) in code.files


def _is_of(module: Any, root: Path) -> bool:
    file = getattr(module, "__file__", None)
    found = [file] if file else list(getattr(module, "__path__", ()))  # a folder may be in several
    return any(Path(path).is_relative_to(root) for path in found)


def _require_all_copied(known: set[str], code: OwnCode) -> None:
    """Raise ValueError where what was imported now lies beside the code that is copied."""
    for name in set(sys.modules) - known:
        file = getattr(sys.modules[name], "__file__", None)
        if file is None or name.partition(".")[0] in OURS or "site-packages" in file:
            continue
        if any(Path(file).is_relative_to(p) for p in own_places()) and not _is_of(
            sys.modules[name], code.root
        ):
            raise ValueError(
                f"{name} is imported by a name that is made at run time, and no other machine "
                f"would find it: write `import {name}`"
            )
