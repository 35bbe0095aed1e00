"""The one question that a study asks beforehand."""

from dataclasses import dataclass

OUTCOMES = {"mis/mean": "MIS", "mis/change": "change of MIS of the same units"}
"""What is asked about -> how it is called."""

AGAINST = ("sparsity", "accuracy", "sparsity at matched accuracy")
"""What it may go with."""

NETWORKS = ("all", "retrained", "not retrained")
"""Of which pruned networks."""


@dataclass(frozen=True)
class Primary:
    """Does `outcome` go with `against`, of these networks? Tested at 5 %; all else that a report
    asks is exploratory, and corrected for how much it asks. Raises ValueError for other values.
    """

    outcome: str = "mis/change"
    against: str = "sparsity"
    networks: str = "retrained"

    def __post_init__(self) -> None:
        for name, legal in (
            ("outcome", tuple(OUTCOMES)),
            ("against", AGAINST),
            ("networks", NETWORKS),
        ):
            if getattr(self, name) not in legal:
                raise ValueError(
                    f"{name} of a study's primary question must be one of {', '.join(legal)}, got "
                    f"{getattr(self, name)!r}"
                )

    def __str__(self) -> str:
        """One line, which `read` reads."""
        return f"{self.outcome} with {self.against}, {self.networks}"

    @classmethod
    def read(cls, text: str) -> "Primary | None":
        """What `str` wrote; None for anything else, as of a sweep that named no question."""
        outcome, _, rest = text.partition(" with ")
        against, _, networks = rest.rpartition(", ")
        try:
            return cls(outcome, against, networks)
        except ValueError:
            return None
