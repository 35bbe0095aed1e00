"""A schedule by its name: one of Secateur's, or "module:function", one of the user's own."""

import math
from functools import lru_cache

from pruning import SCHEDULES, Schedule
from trainables.network_names import is_own
from trainables.own_import import own_function
from trainables.own_settings import root_of, settings_kept, told

FIELD = "prune.schedule"


def own_schedule(name: str, code: str = "") -> Schedule | None:
    """The user's own schedule of that name; None for one of ours.

    code: digest of its source; "" while it is planned. What it gives is checked to be a number.
    Raises ValueError, in one sentence, for a name that is none, and where there is no function.
    """
    if name in SCHEDULES:
        return None
    if not is_own(name):
        raise ValueError(
            f"{FIELD} must be one of {', '.join(SCHEDULES)}, or module:function, a schedule of "
            f"your own, got {name!r}"
        )
    return _known(name, code) if code else _own(name, code)


@lru_cache(64)
def _known(name: str, code: str) -> Schedule:
    return _own(name, code)


def _own(name: str, code: str) -> Schedule:
    function = own_function(name, code, FIELD)

    def checked(rate: float, done: float) -> float:
        at = f"{FIELD}={name!r} must give a rate, at {done:g} of the rounds to {rate:g} it"
        try:
            with settings_kept(name, FIELD):
                value = function(rate, done)
        except Exception as error:
            raise ValueError(f"{at} raises {told(error, root_of(name))}") from error
        if not isinstance(value, (int, float)) or not math.isfinite(value):
            raise ValueError(f"{at} gives {value!r}")
        return float(value)

    return checked
