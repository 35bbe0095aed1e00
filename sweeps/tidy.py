"""`make tidy`: decoded images that nobody asks for any more are removed."""

from pathlib import Path

from rich.console import Console
from rich.markup import escape

from trainables.datasets.packs import remove_unused
from trainables.workspace import Workspace, node_cache, size_shown


def tidy(results: Path, console: Console) -> int:
    """Remove what `packs.unused` finds in the cache of a results folder, or of this machine."""
    cache = node_cache(Workspace(results).cache)
    n_bytes = remove_unused(cache) if cache.is_dir() else 0
    what = f"{size_shown(n_bytes)} of decoded images removed" if n_bytes else "nothing to remove"
    console.print(f"{what} in {escape(str(cache))}", soft_wrap=True)
    return 0
