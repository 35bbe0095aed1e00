"""The source of a user's own function, "package.module:function", and what it is known by.

The files are those of the package of the module, or the module alone, and all that these import
from the same folder, in turn.
"""

import ast
import hashlib
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.machinery import PathFinder
from pathlib import Path

OURS = ("mis", "pruning", "sweeps", "trainables")
CODE_FOLDER = "code"  # of a results folder


@dataclass(frozen=True)
class Own:
    """Code of the user's own that a trial names.

    field: that names it; name: "module:function". digest_field: that holds the digest of its
    source; digest: that, "" until a sweep is planned.
    """

    field: str
    name: str
    digest_field: str
    digest: str


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


def own_places() -> list[Path]:
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
    module, where = name.partition(":")[0], own_places()
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
        if each in OURS or not _there(root, each):
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
    return here in where or here.parent.name == CODE_FOLDER
