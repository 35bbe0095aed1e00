"""What cannot be used is set aside: said on the terminal, in our words, and nothing else goes."""

import io
import json
import pickle
import re
import warnings
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from rich.console import Console
from small_studies import small_base

import sweeps.__main__ as command
from sweeps.plan.names import Names
from sweeps.terminal import Terminal, plain_warnings
from sweeps.tune.events import SweepCallback
from sweeps.tune.progress import SweepProgress
from sweeps.tune.worker import PruningTrial, smaller_batch
from trainables.config import NetworkConfig
from trainables.kept import (
    load_whole,
    read_kept,
    read_state,
    require_state,
    set_aside,
    set_aside_path,
)
from trainables.trial import Trial
from trainables.workspace import SetAside, Workspace

CPU = torch.device("cpu")
OF_OTHERS = re.compile(r"torch|pickle|weights_only|zip|mmap|codec|char \d|load_state|Error|storage")


def a_cut_state(path):
    torch.save({"a": torch.zeros(9)}, path)
    path.write_bytes(path.read_bytes()[:-200])


def a_pickle_of_code(path):
    path.write_bytes(pickle.dumps({"run": print}))


def no_bytes(path):
    path.write_bytes(b"")


def text(path):
    path.write_text("<html>404</html>")


def a_turned_byte(path):
    torch.save({"a": torch.zeros(9)}, path)
    content = bytearray(path.read_bytes())
    content[content.index(b"\0" * 36) + 5] ^= 1
    path.write_bytes(content)


def cut_vectors(path):
    np.save(path.with_suffix(".npy"), np.zeros((9, 9)))
    path.write_bytes(path.with_suffix(".npy").read_bytes()[:-50])


def cut_json(path):
    path.write_text('{"device": "cp')


READ = {
    a_cut_state: load_whole,
    a_pickle_of_code: load_whole,
    no_bytes: load_whole,
    text: load_whole,
    a_turned_byte: load_whole,
    cut_vectors: lambda path: np.load(path, mmap_mode="r"),
    cut_json: lambda path: json.loads(path.read_text()),
}


@pytest.mark.parametrize("broken", READ, ids=lambda broken: broken.__name__)
def test_a_broken_file_is_set_aside_in_our_words(broken, tmp_path):
    path = tmp_path / "kept.pt"
    broken(path)
    with pytest.warns(SetAside) as told:
        assert read_kept(path, READ[broken]) is None
    (sentence,) = [str(each.message) for each in told if each.category is SetAside]
    said = f"{path} cannot be used and is now kept.pt.broken: "
    assert sentence.startswith(said) and len(sentence) > len(said) + 10
    assert not OF_OTHERS.search(sentence.removeprefix(said)), sentence
    assert set_aside_path(path).is_file() and not path.exists()


def test_our_own_reason_is_told(tmp_path):
    path = tmp_path / "kept.pt"
    torch.save([1], path)
    state = read_state(path, CPU)
    with pytest.raises(ValueError) as refused:
        require_state(state, {"key": str})
    with pytest.warns(SetAside, match="a state must be a dictionary, it is a list"):
        set_aside(path, refused.value)


def test_of_two_processes_that_set_a_file_aside_one_is_late(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        set_aside(tmp_path / "gone.pt", ValueError("x"))


# A worker's own output goes to a file of Ray's.


def config(**changes):
    network = {"network": NetworkConfig(weights="random"), "data.train_images": 64}
    return small_base(**network | changes)


def worker(config_, results, **more):
    return PruningTrial({"trial": config_, "results": str(results), **more})


def told_by(callback_of, config_, result):
    """What the terminal shows of a report, and what of it is left for Ray to keep."""
    text_ = io.StringIO()
    progress = SweepProgress(Console(file=text_, width=500), 1, 0, Names([config_]))
    outbox = SimpleNamespace(start=lambda *_: None, metrics=lambda *_: None, ended=[])
    outbox.end = lambda *_, **told: outbox.ended.append(told)
    callback = SweepCallback(outbox, progress, callback_of)
    callback.on_trial_result(0, [], ray_trial(config_), result)
    assert callback.problems == []
    return text_.getvalue(), outbox.ended


def ray_trial(config_):
    return SimpleNamespace(config={"trial": config_}, run_metadata=SimpleNamespace(num_failures=0))


@pytest.mark.slow
def test_a_state_that_a_worker_sets_aside_is_told_on_the_terminal(tmp_path):
    workspace, wanted = Workspace(tmp_path), config()
    path = workspace.state(wanted.key)
    path.parent.mkdir(parents=True)
    a_cut_state(path)
    first = worker(wanted, tmp_path)
    report = first.step()
    (sentence,) = report["said"]
    assert sentence.startswith(f"{path} cannot be used and is now {path.name}.broken: it is cut")
    shown, _ = told_by(workspace, wanted, report)
    assert sentence in shown and wanted.key in shown and "said" not in report
    assert "said" not in first.step()  # once


def test_other_warnings_of_a_worker_are_still_warned_of(tmp_path, recwarn):
    trial = worker(config(), tmp_path)
    with trial._listening():
        warnings.warn("something else", UserWarning, stacklevel=1)
        warnings.warn(SetAside("x is now y"), stacklevel=1)
    assert [str(each.message) for each in recwarn] == ["something else"]
    assert trial.said == ["x is now y"]


def test_a_command_says_it_without_a_line_of_the_program(tmp_path, capsys, monkeypatch):
    def run(*_):
        no_bytes(tmp_path / "[red]\x1b[2J.pt")
        assert read_state(tmp_path / "[red]\x1b[2J.pt", CPU) is None
        return 0

    monkeypatch.setattr(command, "_run", run)
    assert command.main(["report"]) == 0
    said = capsys.readouterr().err
    assert "[red]\\x1b[2J.pt cannot be used and is now [red]" in said
    assert "\x1b[2J" not in said and "Warning" not in said and ".py" not in said
    with plain_warnings(), pytest.warns(UserWarning, match="other"):
        warnings.warn("other", UserWarning, stacklevel=1)
    assert isinstance(command.terminal(), Terminal)


# Half the batch, where memory ran out.


def full(*_):
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 MiB")


@pytest.mark.slow
def test_no_memory_on_resuming_leaves_the_state_of_the_whole_batch(tmp_path, monkeypatch):
    wanted = config(**{"finetune.epochs": 2})
    worker(wanted, tmp_path).step()
    workspace = Workspace(tmp_path)
    path = workspace.state(wanted.key)
    before = path.read_bytes()
    load = Trial.load_state_dict

    def no_room(trial, state):
        return full() if trial.config.key == wanted.key else load(trial, state)

    with monkeypatch.context() as patch:
        patch.setattr(Trial, "load_state_dict", no_room)
        again = worker(wanted, tmp_path, retry_smaller_batch=True)
        report = again.step()
    half = smaller_batch(wanted)
    assert report["key"] == half.key and report["retried"] and report["epoch"] == 1
    assert path.read_bytes() == before
    # Killed before half the batch has a state of its own, it goes on with the whole one.
    workspace.state(half.key).unlink()
    assert worker(wanted, tmp_path, retry_smaller_batch=True).step()["epoch"] == 2


def test_a_trial_that_ends_with_half_the_batch_forgets_both_states(tmp_path):
    wanted = config()
    half = smaller_batch(wanted)
    workspace = Workspace(tmp_path)
    result = {"outcome": "completed", "epochs": [], "epoch": 1, "key": half.key, "files": ["a"]}
    result |= {"final": {}, "metrics": {}, "made_on": {}}
    _, ended = told_by(workspace, wanted, result)
    states = [workspace.state(key) for key in (half.key, wanted.key)]
    assert {*states, *map(set_aside_path, states)} == set(ended[0]["forget"])
    assert ended[0]["folder"] == workspace.trial(half.key)
