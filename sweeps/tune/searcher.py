"""The trials of a sweep, one by one to Ray Tune: the plan's, then those that Optuna proposes."""

import traceback
from collections import deque
from collections.abc import Sequence
from typing import Any

from ray.tune.search import Searcher

from sweeps.plan.metrics import SAVED
from sweeps.searching.proposals import Proposals
from trainables.config import TrialConfig


class PlannedSearch(Searcher):
    """First `configs`, in order; then proposals, learned from all that has finished by then."""

    def __init__(self, configs: Sequence[TrialConfig], proposals: Proposals) -> None:
        super().__init__()
        self.proposals = proposals
        self.started: dict[str, TrialConfig] = {}  # Ray's name of a trial -> what it is
        self.problems: list[str] = []
        self._waiting = deque(configs)

    @property
    def n_to_come(self) -> int:
        """How many are still to be begun: that wait, or are to be proposed."""
        return len(self._waiting) + (0 if self.problems else self.proposals.wanted)

    def again(self, configs: Sequence[TrialConfig]) -> None:
        """Have another run of Tune begin with trials that one has not brought to their end."""
        keys = {config.key for config in configs}
        self.started = {n: c for n, c in self.started.items() if c.key not in keys}
        self._waiting.extendleft(reversed(configs))

    def set_search_properties(self, *_: Any, **__: Any) -> bool:
        """Ray's hook: metric and mode, which are ours."""
        return True

    def suggest(self, trial_id: str) -> dict[str, Any] | str:  # type: ignore[override]
        config = self._waiting.popleft() if self._waiting else self._proposal()
        if config is None:
            return Searcher.FINISHED
        self.started[trial_id] = config
        return {"trial": config}

    def _proposal(self) -> TrialConfig | None:
        try:
            return self.proposals.next()
        except Exception:
            # An exception here would end the whole sweep; it is shown at the end.
            self.problems.append(traceback.format_exc())
            return None

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        try:
            self.proposals.ended(self.started[trial_id].key, _metrics(result, error))
        except Exception:
            self.problems.append(traceback.format_exc())

    def save(self, checkpoint_path: str) -> None:
        """Nothing: what is finished is in MLflow, what was proposed is in the proposals' file."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing, likewise."""


def _metrics(result: dict[str, Any] | None, error: bool) -> dict[str, float] | None:
    if error or result is None or result.get("outcome") in (None, "failed"):
        return None
    prefix = "metrics/"
    found = {n.removeprefix(prefix): v for n, v in result.items() if n.startswith(prefix)}
    # How many is known when its run is written; here it is enough that it is not the best.
    return found | ({SAVED: 1.0} if result["outcome"] == "stopped" else {})
