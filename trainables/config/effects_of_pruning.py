"""Which settings of pruning do something in which trials."""

from typing import Any

from pruning import CRITERIA
from trainables.config.criteria import SETTINGS_OF_CRITERIA, criterion_kind, has_setting
from trainables.config.effect import Effect, Values, effect
from trainables.config.stages import PruneConfig
from trainables.fields import flat
from trainables.network_names import is_own


def retrains(values: Values) -> bool:
    return values["rewind"] != "none" or "finetune.epochs" in values


def _removes(values: Values) -> bool:
    whole = values["prune.granularity"] in ("filter", "input_channel")
    return whole and bool(values["prune.held"] and values["prune.batchnorm_follows"])


def _scores_by(values: Values) -> Any:
    return values["prune.counts_of"] or values["prune.criterion"]


def _of_criteria() -> list[Effect]:
    def of(setting: str) -> Effect:
        names = [name for name in CRITERIA if has_setting(name, setting)]
        why = f"of the criteria only {', '.join(names)} {'has' if len(names) == 1 else 'have'} it"
        neutral = (None, "none") if setting == "prune.normalise" else (_PRUNED[setting],)

        def holds(values: Values) -> bool:
            return has_setting(_scores_by(values), setting, values["prune.code"])

        return Effect(setting, holds, neutral, why)

    return [of(setting) for setting in sorted(SETTINGS_OF_CRITERIA)]


_PRUNED = flat(PruneConfig(), "prune.")

OF_PRUNING: tuple[Effect, ...] = (
    effect(
        "prune.code",
        PruneConfig,
        lambda v: is_own(_scores_by(v)),
        "it is of a criterion of your own",
    ),
    effect(
        "prune.schedule_code",
        PruneConfig,
        lambda v: is_own(v["prune.schedule"]),
        "it is of a schedule of your own",
    ),
    *_of_criteria(),
    Effect(
        "prune.rate",
        lambda v: v["prune.target"] is None and not v["prune.rates"],
        (None,),
        "prune.target or prune.rates says how much is pruned",
    ),
    effect(
        "prune.target",
        PruneConfig,
        _removes,
        "only where whole filters or input channels go for good (held, with their BatchNorm) does "
        "the network that is left cost less",
    ),
    effect(
        "prune.round_to",
        PruneConfig,
        lambda v: v["prune.granularity"] == "filter" and _removes(v),
        "only where whole filters go for good (held, with their BatchNorm) has a layer fewer "
        "channels",
    ),
    effect(
        "prune.rates",
        PruneConfig,
        lambda v: v["prune.scope"] == "layer" and ":" not in v["prune.granularity"],
        "only with scope='layer' has a layer a rate of its own, and N:M has one rate",
    ),
    effect(
        "prune.rates_factor",
        PruneConfig,
        lambda v: bool(v["prune.rates"]),
        "it is of prune.rates",
    ),
    effect(
        "prune.biases",
        PruneConfig,
        lambda v: v["prune.granularity"] == "weight",
        "biases are single weights, of granularity='weight' alone",
    ),
    effect(
        "prune.counts_of",
        PruneConfig,
        lambda v: v["prune.criterion"] == "random" and v["prune.scope"] == "global",
        "it is of criterion='random' over all layers; in a layer all keep as many groups",
    ),
    effect(
        "prune.draw",
        PruneConfig,
        lambda v: criterion_kind(v["prune.criterion"], v["prune.code"]).draws,
        f"only criterion={', '.join(repr(n) for n, c in CRITERIA.items() if c.draws)} draws",
    ),
    Effect(
        "prune.normalise",
        lambda v: v["prune.scope"] == "global",
        (None, "none"),
        "within a layer (scope='layer') a norm of the layer changes no order",
    ),
    effect(
        "prune.held",
        PruneConfig,
        retrains,
        "without retraining no pruned weight can grow back",
    ),
)
