"""A user's own function, "package.module:function", of a network or of a data set: its source, what
it is known by, its import.

The files are those of the package of the module, or the module alone, and all that these import
from the same folder, in turn. They are copied once to RESULTS/code/<digest>, which all nodes of a
cluster see: the driver and every worker import that copy, so that what a trial was made of stays.
"""

import ast
import hashlib
import importlib
import os
import shutil
import sys
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any

from trainables.config import DataConfig, NetworkConfig
from trainables.own_settings import SettingChanged, settings_kept, told
from trainables.workspace import own_path

_OURS = ("mis", "pruning", "sweeps", "trainables")
_FOLDER = "code"  # of a results folder
_LOADED: dict[tuple[Path, str], str] = {}  # root and module -> digest of what was imported


@dataclass(frozen=True)
class OwnCode:
    """root: the folder that imports start from. files: of it, as paths below it, sorted."""

    root: Path
    files: tuple[str, ...]

    @property
    def digest(self) -> str:
        """16 hex digits of the files' names and contents."""
        found = hashlib.sha256()
        for name in self.files:
            content = (self.root / name).read_bytes()
            found.update(f"{name}\0{len(content)}\0".encode() + content)
        return found.hexdigest()[:16]


_ALSO: list[Path] = []


def look_also_in(folder: Path) -> None:
    """Have this process find a user's modules there, too: beside a study of the user's."""
    if folder not in _ALSO:
        _ALSO.append(folder)


def _places() -> list[Path]:
    """Where a user's modules are looked for: beside the study, where the user stands, and what
    PYTHONPATH names."""
    named = [Path(part) for part in os.environ.get("PYTHONPATH", "").split(os.pathsep) if part]
    return list(dict.fromkeys(path.resolve() for path in (*_ALSO, Path.cwd(), *named)))


def find_code(name: str, field: str = "network.name") -> OwnCode:
    """The source of "package.module:function", in the folder where the user stands, or in the first
    of PYTHONPATH that has it. field: that names it, for sentences.

    Raises ValueError where there is none, where it is no Python, where a module of it is called as
    one that is installed.
    """
    module, where = name.partition(":")[0], _places()
    top = module.partition(".")[0]
    root = next((place for place in where if _there(place, top)), None)
    if root is None:
        shown = ", ".join(map(str, where))
        raise ValueError(
            f"{top} of {field}={name!r} must be a module in {shown}, or in a folder that "
            "PYTHONPATH names (RESULTS/code has what trials were made of): none is"
        )
    wanted, files = [top], dict[str, None]()
    for each in wanted:  # which grows
        if each in _OURS or not _there(root, each):
            continue
        _require_free(each, f"{field}={name!r}", where)
        for path in _sources(root, each):
            files[path.relative_to(root).as_posix()] = None
            wanted += [n for n in _imports(path) if n not in wanted]
    parts = module.split(".")
    if not any(f"{'/'.join(parts)}{end}" in files for end in (".py", "/__init__.py")):
        raise ValueError(f"{field}={name!r} must name a module, there is no {module} in {root}")
    return OwnCode(root, tuple(sorted(files)))


def _there(place: Path, top: str) -> bool:
    return (place / f"{top}.py").is_file() or any(_sources(place, top))


def _sources(root: Path, top: str) -> Iterator[Path]:
    """The code files of a package, with those of the folders in it; or of a module. Hidden ones
    are an editor's or a file system's."""
    if (root / f"{top}.py").is_file() and not (root / top / "__init__.py").is_file():
        yield root / f"{top}.py"
        return
    for folder, inner, names in os.walk(root / top, followlinks=True):
        inner[:] = [n for n in inner if _is_part(Path(folder, n))]
        paths = (Path(folder) / n for n in names if n.endswith(".py") and not n.startswith("."))
        yield from (path for path in paths if path.is_file())  # else reading may never end


def _is_part(folder: Path) -> bool:
    """Whether a folder in a package is one of it. One that is linked is where it holds code, and
    does not lead back: what is linked as data may hold anything."""
    if not folder.name.isidentifier() or folder.name == "__pycache__":
        return False
    if not folder.is_symlink():
        return True
    leads_to = os.path.realpath(folder)
    back = any(os.path.realpath(parent) == leads_to for parent in folder.parents)
    return not back and any(folder.glob("*.py"))


def _imports(path: Path) -> Iterator[str]:
    """The first parts of the names that a file imports, wherever it does."""
    try:
        tree = ast.parse(path.read_bytes(), str(path))
    except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
        line = getattr(error, "lineno", None)
        where = "" if line is None else f", line {line}"
        what = getattr(error, "msg", str(error)) or "too deeply nested"
        raise ValueError(f"{path} must be Python{where}: {what}") from None
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.partition(".")[0]


def _require_free(top: str, name: str, where: Sequence[Path]) -> None:
    """Raise ValueError where Python has another module of that name."""
    elsewhere = [p for p in sys.path if not _is_own_place(Path(p or "."), where)]
    spec = None
    if top not in sys.stdlib_module_names:
        spec = PathFinder.find_spec(top, elsewhere)
        if spec is None:
            return
    there = "Python's own"
    if spec is not None:
        there = spec.origin or str(next(iter(spec.submodule_search_locations or ()), ""))
    raise ValueError(
        f"a module of {name} must not be called as one that is installed: rename {top} ({there})"
    )


def _is_own_place(path: Path, where: Sequence[Path]) -> bool:
    here = path.resolve()
    return here in where or here.parent.name == _FOLDER


def hold_code(part: NetworkConfig | DataConfig, results: Path) -> None:
    """Copy the code of a user's own network or data set to RESULTS/code/<digest>, where it is not
    yet, and let this process import it; nothing of others.

    Raises ValueError where it has changed since the digest was taken.
    """
    name, digest = part.name, part.code
    field = "data.name" if isinstance(part, DataConfig) else "network.name"
    if not digest:
        return
    folder = own_path(results, _FOLDER, digest)
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
    folder = str(results.resolve() / _FOLDER / digest)
    if Path(folder).is_dir() and folder not in sys.path:
        sys.path.append(folder)


def _copied(folder: Path) -> OwnCode:
    files = (p.relative_to(folder).as_posix() for p in folder.rglob("*.py"))
    return OwnCode(folder, tuple(sorted(files)))


def _require_same(name: str, digest: str, code: OwnCode) -> None:
    if code.digest == digest:
        return
    if code.root.parent.name == _FOLDER:
        raise ValueError(
            f"the copy of the code of {name} in {code.root} must stay as it was "
            "made, it has changed: remove that folder, and it is copied anew"
        )
    raise ValueError(
        f"the code of {name} must stay as it was when the sweep was planned, "
        f"that in {code.root} is another; plan it anew"
    )


def own_function(name: str, digest: str, field: str = "network.name") -> Callable[..., Any]:
    """The function that "package.module:function" names, from the copy that `hold_code` has made,
    else from where the user stands.

    Raises ValueError where the module cannot be imported, or has no such function.
    """
    module, _, attribute = name.partition(":")
    held = (Path(p) for p in sys.path if digest and Path(p).name == digest)
    code = next((_copied(p) for p in held if p.parent.name == _FOLDER), None)
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
        if file is None or name.partition(".")[0] in _OURS or "site-packages" in file:
            continue
        if any(Path(file).is_relative_to(p) for p in _places()) and not _is_of(
            sys.modules[name], code.root
        ):
            raise ValueError(
                f"{name} is imported by a name that is made at run time, and no other machine "
                f"would find it: write `import {name}`"
            )
