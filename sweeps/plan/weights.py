"""Whether a study that begins with ImageNet's weights can have them, and what it does without."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from sweeps.plan.sweep import Sweep
from trainables.networks.imagenet import not_at_hand


def at_hand_or_scratch(sweep: Sweep, settings: Mapping[str, Any]) -> tuple[Sweep, tuple[str, ...]]:
    """The study as it can run here, and a sentence where that is from scratch.

    Who sets `network.weights` is taken at their word.
    """
    network = sweep.base.network
    name = str(settings.get("network.name", network.name))
    if sweep.from_scratch is None or "network.weights" in settings:
        return sweep, ()
    why = not_at_hand(name)
    if not why:
        return sweep, ()
    given = sweep.base.data
    scratch = sweep.from_scratch.replace({"data.name": given.name, "data.path": given.path})
    return dataclasses.replace(sweep, base=scratch), (
        f"ImageNet weights of {name} are not at hand ({why}): it is trained from scratch, at "
        f"{scratch.data.pixels} pixels; SET=network.weights=imagenet insists on them",
    )
