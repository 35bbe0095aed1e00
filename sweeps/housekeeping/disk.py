"""What lies in a results folder, thing by thing, and of what kind it is: told by names alone."""

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from sweeps.tune.leftovers import written_by_ray
from trainables.datasets.packs import unused
from trainables.workspace import own_path

RESULTS = "results: runs, their files, reports"
WAITING = "waits for MLflow"
STATES = "states of trials"
DENSE = "dense networks and their scores"
IMAGES = "images, decoded, drawn or copied"
VECTORS = "vectors of images"
COMPILED = "compiled code"
LISTS = "lists of images"
PASSES = "passes of scores, half done"
IMPORTANCE = "importance of weights"
UNUSED = "decoded images that nobody asks for"
CODE = "code of your own"
RAY = "what Ray wrote"
ASIDE = "set aside as broken"
PARTIAL = "half-written files"
NOTES = "notes and locks"
OTHER = "else"
CACHES = (IMAGES, VECTORS, IMPORTANCE, COMPILED, LISTS, PASSES)
"""What the next sweep that wants it makes anew."""
KINDS = (RESULTS, WAITING, STATES, DENSE, CODE, *CACHES, UNUSED, RAY, ASIDE, PARTIAL, NOTES, OTHER)

Kinds = Sequence[tuple[str, str]]  # patterns of names, and what they are

_KEY, _UUID = "[0-9a-f]{16}", "[0-9a-f]{32}"
_OF_FOLDER = {
    "artifacts": RESULTS,
    "export": RESULTS,
    "report": RESULTS,
    "search": RESULTS,
    "stopping": RESULTS,
    "trials": WAITING,
    "outbox": WAITING,
}
_IN_CACHE: Kinds = (
    (rf"dense-((mis|answers|units)-)?{_KEY}(-epoch\d+)?\.pt", DENSE),
    (rf"dense-{_KEY}-state\.pt|kept-.+-round\d+\.pt", DENSE),
    (rf"embeddings-{_KEY}", VECTORS),
    (rf"pass-{_KEY}\.(pt|means)", PASSES),
    (rf"scores-{_KEY}\.pt", IMPORTANCE),
    (rf"listing-[0-9a-f]+\.npz|looked-{_KEY}\.json", LISTS),
    (rf"concepts-v\d+-[a-z]+-\d+-seed\d+-\d+px|(fetched|thumbnails)-{_KEY}", IMAGES),
    (rf"unit-maps-{_KEY}\.pt", IMAGES),
    (r"concepts-v\d+-.+\.partial-.+", PARTIAL),
    ("compiled", COMPILED),
)
_IN_PACKS: Kinds = ((r"[0-9a-f]{24}\.(pixels|npz)", IMAGES), (rf"lock|{_KEY}\.json", NOTES))
_BROKEN, _HALF = r".+\.broken", rf"\..+\.{_UUID}"


@dataclass(frozen=True)
class Thing:
    """A file or a folder that is removed as one.

    path: in the results folder, which no link leads to. n_bytes: on the disk. used: seconds since
    the epoch at which it was written or read last, as far as the disk notes that. study, name:
    whose, and what it is called, of what belongs to a study.
    """

    path: Path
    kind: str
    n_bytes: int
    used: float
    study: str = ""
    name: str = ""


def things(results: Path) -> list[Thing]:
    """All that lies in a results folder. Links are neither followed nor listed."""
    results = results.resolve()
    found: list[Thing] = []
    for path in _children(results):
        folder = path.name if path.is_dir() else ""
        if folder == "cache":
            found += _of_cache(path)
        elif folder == "states":
            found += _of_states(path)
        elif folder == "ray":
            found += _of_ray(path)
        elif folder == "code":
            kinds = ((_KEY, CODE),)
            found += [_thing(p, _kind(p.name, kinds), name=p.name) for p in _children(path)]
        else:
            found.append(_thing(path, _OF_FOLDER.get(folder, _of_file(path))))
    return found


def _of_file(path: Path) -> str:
    ours = re.fullmatch(r"mlflow\.(db(-journal|-wal|-shm)?|lock)|sweeps\.lock", path.name)
    return RESULTS if ours else OTHER


def _of_cache(cache: Path) -> Iterator[Thing]:
    asked_by_none = unused(cache)
    for path in _children(cache):
        if path.name == "packs" and path.is_dir():
            inner, kinds = _children(path), _IN_PACKS
        else:
            inner, kinds = [path], _IN_CACHE
        for each in inner:
            yield _thing(each, UNUSED if each in asked_by_none else _kind(each.name, kinds))


def in_cache(name: str) -> str:
    """The kind of a file or folder of that name in the cache."""
    return _kind(name, _IN_CACHE)


def _kind(name: str, kinds: Kinds) -> str:
    for pattern, kind in ((_BROKEN, ASIDE), (_HALF, PARTIAL), *kinds):
        if re.fullmatch(pattern, name):
            return kind
    return OTHER


def _of_states(folder: Path) -> Iterator[Thing]:
    """Files of a study in a folder of its name; those of before studies had one lie above."""
    for path in _children(folder):
        study = path.name if path.is_dir() else ""
        for each in _children(path) if study else [path]:
            kind = _kind(each.name, ((r".+\.pt", STATES),))
            yield _thing(each, kind, study, each.name.removesuffix(".pt"))


def _of_ray(folder: Path) -> Iterator[Thing]:
    """As `forget_ray` has it: what is not Ray's is somebody's."""
    for path in _children(folder):
        if not path.is_dir():
            yield _thing(path, RAY if path.name == "tune.log" else OTHER)
            continue
        ours = written_by_ray(path)
        for each in _children(path):
            yield _thing(each, RAY if each in ours else OTHER, path.name)


def _children(folder: Path) -> list[Path]:
    """What a folder holds, but for links."""
    try:
        with os.scandir(folder) as entries:
            return sorted(folder / e.name for e in entries if not e.is_symlink())
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return []


def _thing(path: Path, kind: str, study: str = "", name: str = "") -> Thing:
    n_bytes, used = _measured(path)
    return Thing(path, kind, n_bytes, used, study, name)


def _measured(path: Path) -> tuple[int, float]:
    """Bytes on the disk of all below, and when any of it was used last; what goes meanwhile is
    not counted."""
    try:
        stat = path.lstat()
    except OSError:
        return 0, 0.0
    n_bytes, used = stat.st_blocks * 512, max(stat.st_mtime, stat.st_atime)
    if not path.is_dir():
        return n_bytes, used
    inner = [_measured(child) for child in _children(path)]
    if inner:  # whoever lists a folder has not used what is in it
        used = max(last for _, last in inner)
    return n_bytes + sum(more for more, _ in inner), used


def require_results(results: Path) -> None:
    """Raise ValueError unless sweeps have written to the folder: in others names mean nothing."""
    if not results.is_dir():
        raise ValueError(f"RESULTS must be a folder that is there, {results} is none")
    if not (results / "outbox").is_dir():
        raise ValueError(f"RESULTS must be a folder of results, no sweep has run in {results}")


def is_inside(results: Path, path: Path) -> bool:
    """Whether a path lies in the results folder, and no link leads to it."""
    try:
        own_path(results, *path.relative_to(results.resolve()).parts)
    except ValueError:
        return False
    return True
