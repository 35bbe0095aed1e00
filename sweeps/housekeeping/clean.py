"""`secateur clean`: what nobody needs is told, and removed where that is asked for."""

import shutil
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from sweeps.housekeeping import disk
from sweeps.housekeeping.disk import Thing, is_inside, require_results
from sweeps.housekeeping.removable import Wanted, know, split
from sweeps.tracking.drivers import no_driver, only_driver
from trainables.datasets.packs import packs_folder
from trainables.locks import held_folder, locked
from trainables.workspace import node_cache, size_shown

_LISTED = 20  # things of a kind that are named one by one


def clean(results: Path, console: Console, wanted: Wanted, *, remove: bool) -> int:
    """Say what would be removed, or remove it; the exit code is 1 where something could not be.

    Nothing outside the results folder, or behind a link, is touched; results never are.
    """
    require_results(results)
    if not remove:
        goes, stays = split(know(results), wanted)
        _tell(results, goes, stays, console)
        if goes:
            console.print(
                "nothing is removed yet: the same with --remove (make clean-results REMOVE=yes) "
                f"removes these {size_shown(_size(goes))}",
                soft_wrap=True,
            )
        return 0
    with no_driver(results) as alone:
        goes, stays = split(know(results), wanted)
        _tell(results, goes, stays, console)
        problems, freed = _remove(results, goes, alone)
    for sentence in problems:
        console.print(f"[red]not removed:[/] {escape(sentence)}", soft_wrap=True)
    console.print(f"removed: {size_shown(freed)}", soft_wrap=True)
    return int(bool(problems))


def _remove(results: Path, goes: Sequence[Thing], alone: bool) -> tuple[list[str], int]:
    """Sentences about what could not be removed, and how many bytes were.

    alone: no sweep runs in the folder, and none can begin. Else what is of a study is removed under
    that study's lock.
    """
    problems, freed = [], 0
    for study in sorted({thing.study for thing in goes}):
        its = [thing for thing in goes if thing.study == study]
        try:
            with ExitStack() as stack:
                if study and not alone:
                    stack.enter_context(only_driver(results, study))
                if any(thing.kind == disk.UNUSED for thing in its):
                    lock = packs_folder(results / "cache") / "lock"
                    stack.enter_context(locked(lock, "another process decodes images"))
                for thing in its:
                    try:
                        freed += _remove_one(results, thing)
                    except OSError as error:  # the others go
                        problems.append(f"{thing.path} ({error.strerror or error})")
        except (ValueError, OSError) as error:
            problems.append(str(error))
    return problems, freed


def _remove_one(results: Path, thing: Thing) -> int:
    """The bytes that are free now. Raises OSError where the disk does not let it go, or another
    process holds it."""
    if not is_inside(results, thing.path):  # a link, by now
        raise ValueError(f"{thing.path} must lie in {results}, and not behind a link")
    if thing.kind == disk.PARTIAL and thing.path.is_dir():
        with held_folder(thing.path):  # by who draws images to it
            shutil.rmtree(thing.path)
    elif thing.path.is_dir():
        shutil.rmtree(thing.path)
    else:
        thing.path.unlink(missing_ok=True)
    return thing.n_bytes


def _tell(
    results: Path, goes: Sequence[Thing], stays: dict[str, list[Thing]], console: Console
) -> None:
    console.print(escape(f"the results folder {results.resolve()}:"), soft_wrap=True)
    if goes:
        table = Table("nobody needs, or is made anew", "size", title_justify="left")
        for kind in disk.KINDS:
            its = sorted((t for t in goes if t.kind == kind), key=lambda t: (-t.n_bytes, t.path))
            if its:
                table.add_section()
                table.add_row(f"[bold]{kind}[/] ({len(its)})", size_shown(_size(its)))
            for thing in its[:_LISTED]:
                name = thing.path.relative_to(results.resolve())
                table.add_row(escape(f"  {name}"), size_shown(thing.n_bytes))
            if len(its) > _LISTED:
                rest = its[_LISTED:]
                table.add_row(f"  and {len(rest):,} more", size_shown(_size(rest)))
        console.print(table)
    else:
        console.print("nothing to remove")
    for why, its in stays.items():
        kinds = ", ".join(dict.fromkeys(thing.kind for thing in its))
        kept = f"kept: {size_shown(_size(its))} ({kinds}): {why}"
        console.print(escape(kept), soft_wrap=True)
    cache = node_cache(results / "cache")
    if cache != results / "cache" and not is_inside(results, cache):
        console.print(
            escape(
                f"SECATEUR_NODE_CACHE={cache} lies elsewhere and is left alone: between sweeps all "
                "of it may be deleted by hand"
            ),
            soft_wrap=True,
        )


def _size(its: Iterable[Thing]) -> int:
    return sum(thing.n_bytes for thing in its)
