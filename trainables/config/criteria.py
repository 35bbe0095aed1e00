"""A criterion by its name: one of Secateur's, or "module:Class", one of the user's own."""

from dataclasses import fields

from pruning import CRITERIA, Criterion
from trainables.fields import flat
from trainables.network_names import is_own
from trainables.own_import import kept_by_code, own_class

FIELD = "prune.criterion"


def criterion_kind(name: str, code: str = "") -> type[Criterion]:
    """The class of a criterion. code: digest of the source of one's own; "" while it is planned.

    Raises ValueError, in one sentence, for a name that is none, and for code that is no criterion.
    """
    if name in CRITERIA:
        return CRITERIA[name]
    if not is_own(name):
        raise ValueError(
            f"{FIELD} must be one of {', '.join(CRITERIA)}, or module:Class, a criterion of your "
            f"own, got {name!r}"
        )
    return _own(name, code)


@kept_by_code
def _own(name: str, code: str) -> type[Criterion]:
    kind: type[Criterion] = own_class(name, code, FIELD, {"pruning.Criterion": Criterion})
    try:
        kind()
    except Exception as error:
        raise ValueError(
            f"the settings of {FIELD}={name!r} must have defaults, it cannot be made without: "
            f"{error}"
        ) from error
    return kind


def criterion_of(name: str, code: str, settings: object) -> Criterion:
    """The criterion with the fields of `settings` that criteria share; its other fields at their
    own defaults."""
    kind = criterion_kind(name, code)
    there = [item.name for item in fields(kind) if item.name in _OF_A_CONFIG]
    return kind(**{each: getattr(settings, each) for each in there})


def has_setting(criterion: str, setting: str, code: str | None = None) -> bool:
    """Whether a criterion of this name has that dotted field: read from its class.

    code: digest of the source of one's own; None where it is not at hand: then it may have any.
    """
    if is_own(criterion) and code is None:
        return True
    if not is_own(criterion) and criterion not in CRITERIA:
        return False
    return setting in flat(criterion_kind(criterion, code or "")(), "prune.")


_OF_A_CONFIG = frozenset(item.name for kind in CRITERIA.values() for item in fields(kind))
SETTINGS_OF_CRITERIA = frozenset(s for c in CRITERIA.values() for s in flat(c(), "prune."))
"""Dotted fields that some criteria have and others have not."""
