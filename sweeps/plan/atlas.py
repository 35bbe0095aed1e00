"""How much the atlas of units beside a report may hold: what a study says of it."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Atlas:
    """The limits of an atlas.

    trials: at most so many networks, the dense one and the controls first; 0: no atlas.
    megabytes: of all its files; pictures get smaller, and fewer per unit, before it is passed.
    maps: of so many networks the maps of units are laid over their pictures, which takes a pass of
    each over the probe images when the report is made.
    layers: titles of those that are shown; () for all.
    trial_megabytes: of a page of one network beside the dense one, which is left with its trial in
    MLflow; where one would be larger there are none. 0: none.

    Raises ValueError for numbers below 0.
    """

    trials: int = 60
    megabytes: int = 60
    maps: int = 4
    layers: tuple[str, ...] = ()
    trial_megabytes: int = 12

    def __post_init__(self) -> None:
        for name in ("trials", "megabytes", "maps", "trial_megabytes"):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < 0:
                raise ValueError(f"atlas.{name} must be a whole number from 0 on, got {value!r}")
