"""Every criterion and granularity in a trial, and a criterion of one's own as the README has it."""

import re
from pathlib import Path

import pytest
import torch
from small_studies import small_base

from pruning import CRITERIA, GRANULARITIES, prunable_weights
from trainables.config import PruneConfig
from trainables.methods import METHODS
from trainables.trial import Trial

README = (Path(__file__).parents[2] / "README.md").read_text()
OF_2_4 = {f"prune.{name}": value for name, value in METHODS["nm_2_4"].items()}


def pruned(config, workspace):
    trial = Trial(config, workspace)
    trial.begin_round()
    trial.close()
    return trial


def granularity_for(criterion):
    kinds = {each.kind: name for name, each in GRANULARITIES.items()}
    return next(kinds[k] for k in ("filter", "input_channel", "weight") if k in criterion.knows)


@pytest.mark.slow
@pytest.mark.parametrize("name", CRITERIA)
def test_every_criterion_prunes_half_of_every_layer(name, workspace):
    changes = {"prune.criterion": name, "prune.granularity": granularity_for(CRITERIA[name])}
    if CRITERIA[name].looks_at_images:
        changes["prune.samples_per_class"] = 1
    trial = pruned(small_base(**changes, **{"prune.scope": "layer", "finetune": None}), workspace)
    numbers = trial.pruned.numbers()
    assert len(numbers) == 56
    assert all(kept == n - n // 2 for kept, n in numbers.values())


def test_2_4_keeps_two_of_four_while_it_trains(workspace):
    trial = Trial(small_base(**OF_2_4), workspace)
    trial.begin_round()
    trial.epoch()
    trial.close()
    for weight in prunable_weights(trial.network).values():
        blocks = (weight != 0).movedim(1, -1).reshape(-1, 4)
        assert (blocks.sum(1) == 2).all()


def test_the_criterion_of_the_readme_is_one(workspace, monkeypatch):
    code = re.search(r"```python\n(# my_criteria.py.*?)```", README, re.DOTALL).group(1)
    names = {}
    exec(code, names)
    kind = names["SmallestFirst"]
    monkeypatch.setitem(CRITERIA, kind.name, kind)
    own = {"prune.criterion": kind.name, "prune.normalise": "l2", "finetune": None}
    keep = pruned(small_base(**own), workspace).pruned.keep
    turned = {"finetune": None, "prune.most_important_first": True, "prune.normalise": "l2"}
    by_l1 = pruned(small_base(**turned), workspace).pruned.keep
    assert all(torch.equal(keep[name], by_l1[name]) for name in keep)


def test_settings_of_criteria_are_fields_of_the_config():
    """With the same defaults: what is left alone is the same in both."""
    for name in CRITERIA:
        assert (
            CRITERIA[name]()
            == PruneConfig(criterion=name, granularity=granularity_for(CRITERIA[name])).by
        )
