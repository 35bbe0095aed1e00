"""The control that keeps as many groups of each layer as a criterion does, and draws which."""

import pandas as pd
import pytest
import torch
from small_studies import small_base

from trainables.rounds.numbers import numbers_of
from trainables.trial import Trial

IN_ALL_LAYERS = {"prune.granularity": "filter", "prune.scope": "global", "prune.rate": 0.4}
ROUNDS = {"prune.schedule": "linear", "prune.rounds": 2}
BY_CHANCE = {"prune.criterion": "random", "prune.counts_of": "l1"}


def masks(config, workspace):
    """Go on to the masks of the last round; what the trial says of its layers, and its masks."""
    trial = Trial(config, workspace)
    while trial.n_begun < config.rounds:
        if (
            config.retrain is not None
            and trial.epochs_done < trial.n_begun * config.epochs_per_round
        ):
            trial.epoch()
        else:
            trial.begin_round()
    trial.close()
    return pd.DataFrame(trial.layers), trial.pruned.keep


@pytest.mark.slow
def test_numbers_are_the_criterions_and_the_choice_is_not(workspace):
    own = small_base(**IN_ALL_LAYERS, **{"finetune": None, "prune.criterion": "taylor"})
    own = own.replace({"prune.samples_per_class": 2})
    control = own.replace({"prune.criterion": "random", "prune.counts_of": "taylor"})
    meant, of_own = masks(own, workspace)
    assert meant["share"].between(0, 1).all() and meant["share"].nunique() > 5
    assert meant["n_groups"].sum() - meant["n_kept"].sum() == int(0.4 * meant["n_groups"].sum())
    drawn = []
    for draw in range(2):
        table, keep = masks(control.replace({"prune.draw": draw}), workspace)
        pd.testing.assert_frame_equal(table, meant)
        again = masks(control.replace({"prune.draw": draw}), workspace)[1]
        assert all(torch.equal(keep[name], again[name]) for name in keep)
        drawn.append(keep)
    for one, other in ((drawn[0], drawn[1]), (drawn[0], of_own)):
        assert sum(not torch.equal(one[name], other[name]) for name in one) > 40
    uniform, _ = masks(own.replace({"prune.criterion": "random", **NO_IMAGES}), workspace)
    assert uniform["share"].std() < meant["share"].std() / 2


NO_IMAGES = {"prune.samples_per_class": 10}


@pytest.mark.slow
@pytest.mark.parametrize("trained", [False, True])
def test_numbers_are_those_of_every_round(workspace, trained):
    """Where rounds train, the criterion's network is not the control's: its own trial is run."""
    own = small_base(**IN_ALL_LAYERS, **ROUNDS, **({} if trained else {"finetune": None}))
    control = own.replace(BY_CHANCE)
    before, _ = masks(control, workspace)  # knows nothing of the other
    meant, _ = masks(own, workspace)
    assert set(meant["round"]) == {1.0, 2.0}
    pd.testing.assert_frame_equal(before, meant)
    if trained:  # what the other left saves running it again
        assert control.of_masks.key == own.of_masks.key
        left = numbers_of(workspace.cache, control.of_masks.key, 1)
        last = meant[meant["round"] == 2].set_index("layer")["n_kept"]
        assert {f"{layer}.weight": kept for layer, kept in last.items()} == left


def test_a_restored_trial_remembers_its_layers(workspace):
    config = small_base(**IN_ALL_LAYERS, **ROUNDS)
    trial = Trial(config, workspace)
    trial.epoch()
    trial.save()
    again = Trial(config, workspace)
    assert again.resume() and again.n_begun == 1
    trial.begin_round(), again.begin_round()
    assert again.layers == trial.layers and again.n_begun == 2
    old = trial.state_dict()
    del old["layers"]  # as states were that knew nothing of layers
    again.load_state_dict(old)
    assert again.layers == [] and again.n_begun == 1


@pytest.mark.slow
def test_where_several_processes_train_the_control_has_one_crew(workspace):
    """Of its own training and of the criterion's, which it follows."""
    config = small_base(**IN_ALL_LAYERS, **ROUNDS, **BY_CHANCE, **{"compute.processes": 2})
    trial = Trial(config, workspace)
    while not trial.trained:
        trial.epoch()
    assert trial.followed.crew is trial.crew and trial.crew is not None
    of_two = [row["n_kept"] for row in trial.layers]
    trial.finish()
    alone = masks(small_base(**IN_ALL_LAYERS, **ROUNDS, **BY_CHANCE), workspace)[0]
    assert of_two[: len(of_two) // 2] == alone["n_kept"].tolist()[: len(of_two) // 2]
