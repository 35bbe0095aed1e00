"""What is kept of pictures, decoded or copied, and what of it nobody asks for any more."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from trainables.fields import digest_of
from trainables.workspace import read_own, whole_file

_OLD = "pack-" + "[0-9a-f]" * 16  # folders of version 1, which nothing reads
_COPY = "fetched-" + "[0-9a-f]" * 16
_SHARD = "[0-9a-f]" * 24


def packs_folder(root: Path) -> Path:
    """Where decoded images are kept, of all folders together."""
    folder = root / "packs"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def note_pack(root: Path, of: Mapping[str, object], keys: Sequence[str]) -> None:
    """Write down which shards are asked for; what was asked for the same before is forgotten."""
    note = packs_folder(root) / f"{digest_of(dict(of))[:16]}.json"
    text = json.dumps({"of": dict(of), "shards": list(keys)})
    if not note.is_file() or note.read_text(encoding="utf-8") != text:
        with whole_file(note) as partial:
            partial.write_text(text, encoding="utf-8")


def unused(root: Path) -> dict[Path, int]:
    """Files and folders of decoded images that no folder asks for any more -> their bytes."""
    folder, asked = root / "packs", set()
    for note in folder.glob("*.json"):
        try:
            asked |= set(json.loads(read_own(note))["shards"])
        except (OSError, ValueError, KeyError, TypeError):
            continue  # of anything else: then its shards are decoded again when asked for
    shards = (p for kind in ("pixels", "npz") for p in folder.glob(f"{_SHARD}.{kind}"))
    found = {p: p.lstat().st_size for p in shards if p.stem not in asked}
    found |= {old: sum(_sizes(old)) for old in sorted(root.glob(_OLD)) if _is_ours(old)}
    return found | _old_copies(root)


def note_copy(folder: Path, uri: str, n_bytes: int) -> None:
    """Write down that a copy of a store's images is complete."""
    with whole_file(copy_note(folder)) as partial:
        partial.write_text(json.dumps({"uri": uri, "bytes": n_bytes}), encoding="utf-8")


def copy_note(folder: Path) -> Path:
    """The file that tells that a copy is complete."""
    return folder / "complete"


def _old_copies(root: Path) -> dict[Path, int]:
    """Complete copies of stores of which there is a newer one -> their bytes."""
    copies: dict[str, list[tuple[int, Path, int]]] = {}
    for folder in root.glob(_COPY):
        if folder.is_symlink():
            continue
        try:
            told = json.loads(copy_note(folder).read_text(encoding="utf-8"))
            made = copy_note(folder).stat().st_mtime_ns
            copies.setdefault(str(told["uri"]), []).append((made, folder, int(told["bytes"])))
        except (OSError, ValueError, KeyError, TypeError):
            continue  # not complete, or of another version
    older = [copy for its in copies.values() for copy in sorted(its)[:-1]]
    return {folder: n_bytes for _, folder, n_bytes in older}


def _is_ours(folder: Path) -> bool:
    """Whether it is a folder of shards, and no link to one."""
    if folder.is_symlink() or not folder.is_dir():
        return False
    return all(f.suffix in (".pixels", ".npz") or f.name == "lock" for f in folder.iterdir())


def _sizes(folder: Path) -> Iterator[int]:
    return (file.lstat().st_size for file in folder.iterdir())
