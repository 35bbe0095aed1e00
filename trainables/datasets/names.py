"""Names of files in sentences: anything may be in them, a newline or a terminal's code."""

from collections.abc import Sequence


def shown(name: object) -> str:
    """The name with what cannot be printed escaped, bytes that are no text included."""
    return "".join(c if c.isprintable() else _escaped(c) for c in str(name))


def some(names: Sequence[object], n: int = 3) -> str:
    """The first n names, and how many more there are."""
    listed = ", ".join(shown(name) for name in names[:n])
    return listed if len(names) <= n else f"{listed} and {len(names) - n} more"


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode()
