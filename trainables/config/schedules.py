"""A schedule by its name: one of Secateur's, or "module:function", one of the user's own."""

import math

from pruning import SCHEDULES, Schedule
from trainables.network_names import is_own
from trainables.own_import import kept_by_code, own_function
from trainables.own_settings import called

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
    return _own(name, code)


@kept_by_code
def _own(name: str, code: str) -> Schedule:
    function = own_function(name, code, FIELD)

    def checked(rate: float, done: float) -> float:
        must = f"give a rate, at {done:g} of the rounds to {rate:g} it"
        value = called(FIELD, name, must, lambda: function(rate, done))
        if not isinstance(value, (int, float)) or not math.isfinite(value):
            raise ValueError(f"{FIELD}={name!r} must {must} gives {value!r}")
        return float(value)

    return checked
