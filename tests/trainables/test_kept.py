"""What is kept on disk to save work: gone on with, or set aside and made anew; never lost to an
error that passes."""

import io
import os
import pickle
import zipfile

import numpy as np
import pytest
import torch
from networks_for_tests import tiny_inception
from small_studies import small_base

from trainables import kept
from trainables.config import TrainConfig
from trainables.datasets.images import ArrayImages
from trainables.datasets.loading import load_data
from trainables.kept import load_whole, may_pass, read_kept, read_state
from trainables.scores.mis import measure_dense
from trainables.training.dense import dense_path, missing_dense, train_dense
from trainables.training.finetune import Training
from trainables.trial import Trial
from trainables.workspace import Workspace

CPU = torch.device("cpu")
PASSING = [
    OSError(116, "Stale file handle"),
    OSError(5, "Input/output error"),
    OSError(24, "Too many open files"),
    PermissionError(13, "Permission denied"),
    MemoryError(),
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"),
    RuntimeError("CUDA error: an illegal memory access was encountered"),
    RuntimeError(
        "[enforce fail at alloc_cpu.cpp:127] data. DefaultCPUAllocator: not enough memory"
    ),
]
IN_THE_FILE = [
    EOFError("Ran out of input"),
    pickle.UnpicklingError("invalid load key"),
    RuntimeError(
        "PytorchStreamReader failed reading zip archive: failed finding central directory"
    ),
    zipfile.BadZipFile("File is not a zip file"),
    KeyError("storages"),
    UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"),
    ValueError("mmap length is greater than file size"),
]


@pytest.mark.parametrize("error", PASSING, ids=repr)
def test_an_error_that_may_pass_leaves_the_file(tmp_path, error):
    path = tmp_path / "a.pt"
    path.write_bytes(b"sound")

    def fails(_):
        raise error

    assert may_pass(error)
    with pytest.raises(type(error)):
        read_kept(path, fails)
    assert path.read_bytes() == b"sound" and len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("error", IN_THE_FILE, ids=repr)
def test_a_file_that_is_broken_is_set_aside_and_said(tmp_path, error):
    path = tmp_path / "a.pt"
    path.write_bytes(b"broken")

    def fails(_):
        raise error

    with pytest.warns(UserWarning, match=r"a.pt cannot be used and is now a.pt.broken: "):
        assert read_kept(path, fails) is None
    assert not path.exists() and (tmp_path / "a.pt.broken").read_bytes() == b"broken"


def _pipe(path):
    os.mkfifo(path)


def _folder(path):
    path.mkdir()


def _endless(path):
    path.symlink_to("/dev/zero")


def _nowhere(path):
    path.symlink_to("nowhere")


@pytest.mark.timeout(60)
@pytest.mark.parametrize("make", [_pipe, _folder, _endless, _nowhere])
def test_what_is_no_file_is_set_aside_and_neither_waited_for_nor_read_for_ever(tmp_path, make):
    """A folder in a state's place made each trial fail, in every sweep; a pipe has no end."""
    path = tmp_path / "a.pt"
    make(path)
    with pytest.warns(UserWarning, match=r"a.pt cannot be used and is now a.pt.broken: it is no f"):
        assert read_state(path, torch.device("cpu")) is None
    assert [p.name for p in tmp_path.iterdir()] == ["a.pt.broken"]


def test_what_the_disk_does_not_give_is_not_broken_however_torch_words_it(tmp_path, monkeypatch):
    path = tmp_path / "a.pt"
    torch.save({"a": torch.zeros(3)}, path)

    def not_given(_):
        raise OSError(5, "Input/output error")

    def load(*_args, **_settings):
        raise RuntimeError("PytorchStreamReader failed reading file data/0: file read failed")

    monkeypatch.setattr(torch, "load", load)
    monkeypatch.setattr(kept, "_require_readable", not_given)
    with pytest.raises(OSError, match="Input/output"):
        read_state(path, CPU)
    assert path.exists()


def test_no_file_is_no_state(tmp_path):
    assert read_state(tmp_path / "none.pt", CPU) is None


@pytest.mark.parametrize("position", [0.3, 0.5, 0.7])
def test_one_flipped_byte_of_a_tensor_is_noticed(tmp_path, position):
    path = tmp_path / "a.pt"
    torch.save({"a": torch.randn(1_000), "b": torch.randn(1_000)}, path)
    assert load_whole(path)["a"].shape == (1_000,)
    content = bytearray(path.read_bytes())
    content[int(position * len(content))] ^= 1
    path.write_bytes(content)
    torch.load(path, weights_only=True)  # which sees nothing
    with pytest.raises(ValueError, match="the checksum of .* in it is wrong: the file was damaged"):
        load_whole(path)


# ---- states of a training


def image_set(n=20):
    images = np.random.default_rng(0).integers(0, 256, (n, 16, 16, 3), dtype=np.uint8)
    return ArrayImages(images, torch.arange(n) % 4, digest="a")


def trained(optimizer):
    recipe = TrainConfig(epochs=2, batch_size=8, optimizer=optimizer)
    training = Training(tiny_inception(), image_set(), recipe, precision="fp32")
    training.epoch(torch.Generator().manual_seed(0))
    return training


def spoil(name):
    def other_shape(state):
        state["optimizer"]["state"][0][name] = torch.zeros(2, 3)

    def larger(state):
        moment = state["optimizer"]["state"][1][name]
        state["optimizer"]["state"][1][name] = torch.zeros(*moment.shape, 2)

    def no_tensor(state):
        state["optimizer"]["state"][0][name] = [1.0, 2.0]

    def sparse(state):
        moment = state["optimizer"]["state"][0][name]
        state["optimizer"]["state"][0][name] = moment.to_sparse()

    def on_meta(state):
        moment = state["optimizer"]["state"][0][name]
        state["optimizer"]["state"][0][name] = moment.to("meta")

    def whole_numbers(state):
        moment = state["optimizer"]["state"][0][name]
        state["optimizer"]["state"][0][name] = moment.long()

    def lacks_one(state):
        del state["optimizer"]["state"][0][name]

    def one_more_parameter(state):
        state["optimizer"]["state"][10_000] = state["optimizer"]["state"][0]

    def of_a_name(state):
        state["optimizer"]["state"]["conv1"] = state["optimizer"]["state"][0]

    def none(state):
        del state["optimizer"]

    def no_step(state):
        state["step"] = "3"

    return [
        *(other_shape, larger, no_tensor, sparse, on_meta, whole_numbers, lacks_one),
        *(one_more_parameter, of_a_name, none, no_step),
    ]


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "sgd"])
def test_a_state_that_does_not_fit_the_optimizer_is_refused_and_changes_nothing(optimizer):
    name = "momentum_buffer" if optimizer == "sgd" else "exp_avg_sq"
    training, buffer = trained(optimizer), io.BytesIO()
    torch.save(training.state_dict(), buffer)
    before = training.optimizer.state_dict()["state"][0][name].clone()
    for spoiled in spoil(name):
        state = torch.load(io.BytesIO(buffer.getvalue()), weights_only=True)
        spoiled(state)
        with pytest.raises(ValueError):
            training.load_state_dict(state)
        assert torch.equal(training.optimizer.state_dict()["state"][0][name], before)
    training.epoch(torch.Generator().manual_seed(1))


def test_a_step_of_another_shape_is_refused():
    training = trained("adam")
    state = training.state_dict()
    state["optimizer"]["state"][0]["step"] = torch.zeros(7)
    with pytest.raises(ValueError, match=r"step of the optimizer's parameter 0 must be .* \(\)"):
        training.load_state_dict(state)


def test_a_file_has_no_say_in_the_recipe():
    training = trained("sgd")
    state = training.state_dict()
    state["optimizer"]["param_groups"][0]["momentum"] = 0.1
    training.load_state_dict(state)
    assert training.optimizer.param_groups[0]["momentum"] == 0.9


def test_one_image_is_refused_in_our_words():
    recipe = TrainConfig(batch_size=8)
    with pytest.raises(ValueError, match="needs at least 2 images, over which .*, got 1"):
        Training(tiny_inception(), image_set(1), recipe, precision="fp32")


# ---- whole trials


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
    workspace = Workspace(tmp_path_factory.mktemp("results"))
    config = base()
    train_dense(config, load_data(config.data, workspace.cache), workspace.cache)
    return workspace


def base(**changes):
    few = {"data.train_images": 34, "data.val_images": 20, "network.recipe.epochs": 1}
    rounds = {"prune.schedule": "iterative", "prune.rounds": 2}
    return small_base(**few, **rounds, **changes)


def test_pruned_weights_that_grew_back_are_there_after_an_interruption(workspace):
    config = base(**{"prune.held": False, "prune.rate": 0.8})
    trial = Trial(config, workspace)
    trial.epoch()
    trial.save()
    again = Trial(config, workspace)
    assert again.resume()
    assert again.evaluate() == trial.evaluate()
    assert again.evaluate()["prune/sparsity"] < 0.2
    trial.epoch()
    again.epoch()
    ours, theirs = trial.network.state_dict(), again.network.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    trial.workspace.state(trial.config.key).unlink()


def spoiled_states(state):
    """Name -> a state of the right key that does not fit."""

    def changed(**entries):
        return {**state, **entries}

    name = next(iter(state["keep"]))
    weights = state["network"]
    moments = state["training"]["optimizer"]["state"]
    wrong = {**moments, 0: {**moments[0], "exp_avg": torch.zeros(3, 3)}}
    optimizer = {**state["training"]["optimizer"], "state": wrong}
    return {
        "moment": changed(training={**state["training"], "optimizer": optimizer}),
        "weight": changed(network={**weights, "conv1.conv.weight": torch.zeros(1)}),
        "missing": changed(network={n: t for n, t in weights.items() if n != "fc.bias"}),
        "mask": changed(keep={**state["keep"], name: torch.ones(2, dtype=torch.bool)}),
        "mask of numbers": changed(keep={**state["keep"], name: state["keep"][name].float()}),
        "epochs": changed(history=state["history"] * 5),
        "no network": {n: v for n, v in state.items() if n != "network"},
        "a list": [1, 2],
    }


@pytest.mark.slow
def test_a_state_that_does_not_fit_is_set_aside_and_the_trial_begins_anew(workspace):
    config = base()
    trial = Trial(config, workspace)
    fresh = {n: t.clone() for n, t in trial.network.state_dict().items()}
    trial.epoch()
    trial.save()
    path = workspace.state(config.key)
    for what, state in spoiled_states(torch.load(path, weights_only=True)).items():
        torch.save(state, path)
        again = Trial(config, workspace)
        with pytest.warns(UserWarning, match=f"{config.key}.pt cannot be used and is now"):
            assert not again.resume(), what
        assert not path.exists() and again.epochs_done == 0
        now = again.network.state_dict()
        assert all(torch.equal(now[name], fresh[name]) for name in fresh), what


def test_no_memory_on_resuming_throws_no_state_away(workspace, monkeypatch):
    config = base()
    trial = Trial(config, workspace)
    trial.epoch()
    trial.save()

    def full(*_):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 MiB")

    again = Trial(config, workspace)
    with monkeypatch.context() as patch:
        patch.setattr(type(again.pruned), "restore", full)
        with pytest.raises(torch.OutOfMemoryError):
            again.resume()
    assert again.resume() and again.epochs_done == 1
    trial.workspace.state(trial.config.key).unlink()


def test_a_dense_network_that_is_cut_is_set_aside_and_trained_anew(workspace):
    config = base()
    data = load_data(config.data, workspace.cache)
    path = dense_path(config, data, workspace.cache)
    sound = path.read_bytes()
    for broken in (sound[:-1_000], b"", sound[:2_000_000] + b"\1" + sound[2_000_001:]):
        path.write_bytes(broken)
        with pytest.warns(UserWarning, match="dense-.*.pt cannot be used and is now"):
            assert missing_dense(config, data, workspace.cache)
        assert not path.exists()
    path.write_bytes(sound)
    assert not missing_dense(config, data, workspace.cache)


def test_the_score_of_the_dense_network_is_made_anew_where_it_is_broken(workspace, monkeypatch):
    config = base()
    data = load_data(config.data, workspace.cache)
    first = measure_dense(config, data, workspace.cache)
    (path,) = workspace.cache.glob("dense-mis-*.pt")
    saved = torch.load(path, weights_only=True)
    for name in ("mis", "shown"):  # of another version
        torch.save({n: v for n, v in saved.items() if n != name}, path)
        with pytest.warns(UserWarning, match="dense-mis-.*.pt cannot be used and is now"):
            again = measure_dense(config, data, workspace.cache)
        assert torch.equal(again.mis.nan_to_num(-1), first.mis.nan_to_num(-1))
    # All that it depends on is in its name.
    names = set(workspace.cache.glob("dense-mis-*.pt"))
    monkeypatch.setattr("trainables.scores.mis.measure", lambda *_, **__: first)
    monkeypatch.setattr("trainables.scores.mis.EMBEDDINGS_VERSION", -1)
    measure_dense(config, data, workspace.cache)
    monkeypatch.setattr("trainables.scores.mis.PASS_VERSION", -1)
    measure_dense(config, data, workspace.cache)
    auto = config.replace({"compute.precision": "auto"})
    monkeypatch.setattr("trainables.scores.mis.dense_key", lambda *_: "one")
    monkeypatch.setattr("trainables.scores.mis.load_dense", lambda *_: tiny_inception())
    for precision in ("bf16", "fp32"):
        monkeypatch.setattr("trainables.scores.mis.resolve_precision", lambda *_, p=precision: p)
        measure_dense(auto, data, workspace.cache)
    assert len(set(workspace.cache.glob("dense-mis-*.pt")) - names) == 4
