"""How much a trial prunes: a budget or a table of rates, in its config and on its network."""

import pytest
import torch
from small_studies import computed, small_base, small_sweep

from sweeps.plan.controls import controls
from sweeps.plan.planner import make_plan
from sweeps.plan.preview import plan_summary
from trainables.artifacts import COMPACTED
from trainables.config import PruneConfig, TrialConfig
from trainables.networks import count_cost, load_compacted
from trainables.trial import Trial, run_trial

FILTERS = {"prune.granularity": "filter", "prune.rate": None}
MACS = {**FILTERS, "prune.target": "macs=0.5"}


@pytest.mark.slow
@pytest.mark.parametrize("scope", ["global", "layer"])
def test_a_trial_comes_to_its_budget_and_tells_its_rate(workspace, scope):
    config = small_base(**{**MACS, "prune.scope": scope, "finetune": None})
    result = run_trial(config, workspace)
    metrics = result.metrics
    smaller = count_cost(load_compacted(result.folder / COMPACTED), 32)
    assert metrics["cost/macs"] == smaller.macs
    assert 0.45 < metrics["cost/macs"] / metrics["cost/macs_dense"] <= 0.5
    assert metrics["prune/rate"] == pytest.approx(
        1 - torch.cat(all_kept(result)).double().mean().item(), abs=1e-12
    )
    assert result.outcome == "completed"


def all_kept(result):
    keep = torch.load(result.folder / "keep.pt", weights_only=True)
    return [m.flatten(1).any(1) for n, m in keep.items() if m.dim() == 4 and n != "conv1.weight"]


@pytest.mark.slow
def test_each_round_takes_its_share_of_the_budget(workspace):
    rounds = {"prune.schedule": "iterative", "prune.rounds": 2, "prune.scope": "global"}
    trial = Trial(small_base(**{**MACS, **rounds}), workspace)
    whole = count_cost(trial.network, 32).macs
    left = []
    while not trial.trained:
        trial.epoch()
        left.append(count_cost(trial.pruned.compacted()[0], 32).macs / whole)
    assert left[0] == pytest.approx(0.5**0.5, abs=0.01) and left[0] <= 0.5**0.5
    assert left[1] == pytest.approx(0.5, abs=0.01) and left[1] <= 0.5
    assert [m["prune/rate"] for m in trial.history] == sorted(
        m["prune/rate"] for m in trial.history
    )


@pytest.mark.slow
def test_a_state_goes_on_in_the_middle_of_a_budget(workspace):
    rounds = {"prune.schedule": "iterative", "prune.rounds": 2, "prune.scope": "global"}
    config = small_base(**{**MACS, **rounds})
    whole, first = Trial(config, workspace), Trial(config, workspace)
    state = (first.epoch(), first.state_dict())[1]
    again = Trial(config, workspace)
    again.load_state_dict(state)
    again.epoch()
    while not whole.trained:
        whole.epoch()
    assert list(map(computed, again.history)) == list(map(computed, whole.history))


REFUSED = [
    ({**MACS, "prune.rate": 0.5}, "prune.rate must be None where prune.target says how much"),
    (
        {"prune.rate": None},
        "prune.rate must be a rate in .0, 1. unless prune.target or",
    ),
    ({**MACS, "prune.target": "flops=0.5"}, "a target must be macs=SHARE or params=SHARE"),
    ({**MACS, "prune.granularity": "weight"}, "prune.target must be left alone .*cost less"),
    ({**MACS, "prune.held": False}, "prune.target must be left alone .*cost less"),
    ({**MACS, "prune.batchnorm_follows": False}, "prune.target must be left alone .*cost less"),
    (
        {**MACS, "prune.scope": "layer", "prune.rates": ("a=0.5",)},
        "prune.target and prune.rates both say how much is pruned",
    ),
    ({**FILTERS, "prune.rates": ("a=0.5",)}, "only with scope='layer' has a layer a rate"),
    (
        {**FILTERS, "prune.scope": "layer", "prune.rates": ("a",)},
        "prune.rates must be of LAYER=RATE",
    ),
    (
        {**FILTERS, "prune.scope": "layer", "prune.rates": ("a=1.0",)},
        "a rate in .0, 1., got 'a=1.0'",
    ),
    (
        {**FILTERS, "prune.scope": "layer", "prune.rates": ("a=0.1", "a=0.2")},
        "must name a once, got it twice",
    ),
    (
        {
            **{**FILTERS, "prune.scope": "layer", "prune.rates": ("a=0.6", "b=0.2")},
            "prune.rates_factor": 2,
        },
        "rates_factor must leave every rate below 1, got 2: the highest, 0.6, would be 1.2",
    ),
    (
        {**FILTERS, "prune.scope": "layer", "prune.rates": ("a=0", "b=0.0")},
        "prune.rates must have a rate above 0, all of them are 0",
    ),
    ({"prune.round_to": 8}, "prune.round_to must be left alone .*has a layer fewer channels"),
    ({**FILTERS, "prune.rate": 0.5, "prune.round_to": 0}, "round_to must be positive, got 0"),
    ({"prune.rates_factor": 0.5}, "prune.rates_factor must be left alone .*it is of prune.rates"),
]


@pytest.mark.parametrize(("changes", "message"), REFUSED)
def test_what_makes_no_sense_is_refused_in_one_sentence(changes, message):
    with pytest.raises(ValueError, match=message) as error:
        TrialConfig(prune=PruneConfig()).replace(changes)
    assert "\n" not in str(error.value)


def test_a_plan_refuses_a_budget_that_no_network_comes_down_to():
    settings = {"prune.target": "macs=0.00001"}
    with pytest.raises(ValueError, match="must be within reach, .*leaves macs=0.079 of"):
        make_plan(small_sweep(), settings=settings)


def test_a_multiple_that_leaves_all_layers_whole_is_refused_when_planned():
    with pytest.raises(ValueError, match="round_to must be below the 384 filters of the widest"):
        make_plan(small_sweep(), settings={"prune.round_to": 384})


@pytest.mark.slow
def test_a_trial_in_multiples_is_left_with_them(workspace):
    eights = {**MACS, "prune.scope": "layer", "prune.round_to": 8, "finetune": None}
    result = run_trial(small_base(**eights), workspace)
    smaller = load_compacted(result.folder / COMPACTED)
    widths = [len(m.weight) for m in smaller.modules() if isinstance(m, torch.nn.Conv2d)]
    assert all(width % 8 == 0 for width in widths)
    assert 0.4 < result.metrics["cost/macs"] / result.metrics["cost/macs_dense"] <= 0.5


def test_a_budget_set_on_a_study_takes_the_place_of_its_rates():
    """Where it can be: unstructured trials keep their rates."""
    plan = make_plan(small_sweep(), settings={"prune.target": "params=0.7"})
    structured = [c for c in plan.configs if c.prune and c.prune.granularity == "filter"]
    assert {c.prune.target for c in structured} == {"params=0.7"}
    assert {c.prune.rate for c in structured} == {None} and {c.rate for c in structured} == {0.3}
    assert {c.prune.rate for c in plan.configs if c.method == "unstructured"} == {0.5}
    assert "rates params=0.7, 0.5;" in plan_summary(plan, ())
    assert structured[0].label.startswith("structured params=0.7 ")


def test_a_budget_has_controls_of_its_own():
    budget = small_base(**{**MACS, "prune.scope": "global"})
    rate = small_base(**{**FILTERS, "prune.rate": 0.5, "prune.scope": "global"})
    beside = controls([budget, rate])
    by_chance = [c for c in beside if c.prune.criterion == "random" and not c.prune.counts_of]
    assert {c.prune.amount for c in by_chance} == {"macs=0.5", "0.5"}
    within = [c for c in beside if c.prune.counts_of]
    assert {c.prune.amount for c in within} == {"macs=0.5", "0.5"}
