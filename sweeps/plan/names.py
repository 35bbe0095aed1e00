"""Names for people: every trial of a sweep its own."""

from collections import defaultdict
from collections.abc import Collection, Sequence

from trainables.config import TrialConfig
from trainables.fields import flat


def unique_labels(configs: Sequence[TrialConfig]) -> dict[str, str]:
    """Trial key -> its label; where several would have the same, with what tells them apart.

    "structured 0.8 one_shot" and the same with other recipes become "structured 0.8 one_shot,
    epochs 50, optimizer sgd" and so on: all fields in which those of one label differ.
    """
    alike: dict[str, list[TrialConfig]] = defaultdict(list)
    for config in configs:
        alike[config.label].append(config)
    labels: dict[str, str] = {}
    for label, group in alike.items():
        said = [flat(config) for config in group]
        names = {name for fields in said for name in fields}
        differing = [
            name
            for name in sorted(names)
            if len({str(fields.get(name, "none")) for fields in said}) > 1
        ]
        for config, fields in zip(group, said, strict=True):
            told = [f", {name.rpartition('.')[2]} {fields.get(name, 'none')}" for name in differing]
            labels[config.key] = label + "".join(told)
    return labels


class Names:
    """What a sweep calls its trials, the same wherever it tells of them.

    configs: the trials of its grid. proposed: those that its search has proposed so far; they, and
    those to come, are told apart by the fields that are `searched`. start: keys of the grid's that
    the search learns from. again: the winners of the search, run again on other seeds.
    """

    def __init__(
        self,
        configs: Sequence[TrialConfig],
        proposed: Sequence[TrialConfig] = (),
        searched: Collection[str] = (),
        again: Sequence[TrialConfig] = (),
        start: Collection[str] = (),
    ) -> None:
        self.by_key = unique_labels(configs)
        self._searched = sorted(searched)
        self._seeds = {config.seed for config in configs}
        self._of_grid, self._start = set(self.by_key), set(start)
        self._again = {config.key for config in again}
        for config in (*proposed, *again):
            self.of(config)

    def of(self, config: TrialConfig) -> str:
        if config.key not in self.by_key:
            self.by_key[config.key] = self._of_proposal(config)
        return self.by_key[config.key]

    def source(self, config: TrialConfig) -> str:
        """Where a trial of a sweep that searches comes from: `grid`, `start` (of the grid, known to
        the search), `search`, or `again`."""
        if config.key in self._again:
            return "again"
        if config.key in self._start:
            return "start"
        return "grid" if config.key in self._of_grid else "search"

    def _of_proposal(self, config: TrialConfig) -> str:
        fields = flat(config)
        told = [
            f", {name.rpartition('.')[2]} {_short(fields[name])}"
            for name in self._searched
            if name in fields and name not in _IN_LABEL
        ]
        told += [f", seed {config.seed}"] if config.seed not in self._seeds else []
        name = config.label + "".join(told)
        return f"{name}, {config.key[:6]}" if name in self.by_key.values() else name


_IN_LABEL = (
    *("prune.granularity", "prune.scope", "prune.rate", "prune.schedule", "prune.criterion"),
    *("prune.samples_per_class", "prune.most_important_first", "prune.held"),
)


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
