"""Checkpoints as people have them: read, or refused in one sentence of our own."""

import argparse
import os
import pathlib
import pickle
from collections import OrderedDict

import numpy as np
import pytest
import torch
from torch import nn
from torchvision.models import get_model

from trainables.networks import load_checkpoint


class Small(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.bn = nn.BatchNorm2d(4)
        self.fc = nn.Linear(4, 2)


def sound():
    torch.manual_seed(0)
    network = Small()
    network.bn.num_batches_tracked += 7
    return network.state_dict()


def prefixed(*prefixes):
    return {"".join(prefixes) + name: tensor for name, tensor in sound().items()}


def without_counters():
    return {name: t for name, t in sound().items() if "num_batches" not in name}


READ = {
    "plain": sound(),
    "ordered": OrderedDict(sound()),
    "DataParallel": prefixed("module."),
    "compiled": prefixed("_orig_mod."),
    "compiled DataParallel": prefixed("module.", "_orig_mod."),
    "DataParallel compiled": prefixed("_orig_mod.", "module."),
    "Lightning": {"state_dict": prefixed("model."), "epoch": 3, "hyper_parameters": {"lr": 0.1}},
    "part compiled": {n.replace("conv.", "conv._orig_mod."): t for n, t in sound().items()},
    "state_dict": {"state_dict": sound(), "epoch": 3, "best_acc": np.float64(0.7)},
    "model": {"model": sound(), "optimizer": {"state": {}, "param_groups": []}},
    "twice": {"model": {"state_dict": prefixed("module.")}},
    "another network beside": {"model": sound(), "teacher": {"w": torch.ones(2)}},
    "averaged": {**prefixed("module."), "n_averaged": torch.tensor(7)},
    "random state beside": {"model": sound(), "rng": torch.get_rng_state()},
    "optimizer by name": {
        "net": sound(),
        "optimizer": {"state": {"w": torch.ones(1)}, "param_groups": []},
    },
    "around it": {"checkpoint": {"state_dict": sound()}, "epoch": 1},
    "unknown name": {"classifier": sound()},
    "args": {"state_dict": sound(), "args": argparse.Namespace(lr=0.1, path=pathlib.Path("/a"))},
    "numpy": {"net": sound(), "acc": np.float32(0.5), "n": np.int64(3), "ok": np.bool_(True)},
    "epoch among them": {**sound(), "epoch": 3},
    "no counters": without_counters(),
    "half": {n: t.half() if t.is_floating_point() else t for n, t in sound().items()},
    "bfloat16": {n: t.bfloat16() if t.is_floating_point() else t for n, t in sound().items()},
    "double": {n: t.double() if t.is_floating_point() else t for n, t in sound().items()},
    "not contiguous": {**sound(), "fc.weight": sound()["fc.weight"].t().contiguous().t()},
}


@pytest.mark.parametrize("name", READ)
@pytest.mark.parametrize("zipped", [True, False])
def test_it_is_read(tmp_path, name, zipped):
    path = tmp_path / "a.pt"
    torch.save(READ[name], path, _use_new_zipfile_serialization=zipped)
    network = Small()
    load_checkpoint(network, path)
    atol = 1e-2 if name in ("half", "bfloat16") else 0
    for entry, tensor in sound().items():
        if entry != "bn.num_batches_tracked":
            torch.testing.assert_close(network.state_dict()[entry], tensor, atol=atol, rtol=0)
    assert all(p.dtype == torch.float32 for p in network.parameters())


class RunsCode:
    def __reduce__(self):
        return os.mkdir, ("ran",)


def cut(path):
    torch.save(sound(), path)
    path.write_bytes(path.read_bytes()[:-200])


def damaged(path):
    torch.save({**sound(), "fc.weight": torch.ones(2, 4)}, path)
    content = path.read_bytes().replace(np.ones(8, np.float32).tobytes(), b"\x00" * 32)
    path.write_bytes(content)


def saved(value):
    return lambda path: torch.save(value, path)


def changed(name, tensor):
    return saved({**sound(), name: tensor})


REFUSED = {
    "code": (saved({"model": sound(), "x": RunsCode()}), r"holds objects of posix.mkdir, and to"),
    "whole network": (saved(Small()), r"objects of [\w.]*Small, and to read those could run code"),
    "pickle": (lambda p: p.write_bytes(pickle.dumps(RunsCode())), "another kind of file, or"),
    "cut": (cut, "another kind of file, or was cut off or damaged"),
    "empty": (lambda p: p.write_bytes(b""), "another kind of file, or was cut off"),
    "text": (lambda p: p.write_text("weights"), "another kind of file, or was cut off"),
    "damaged": (damaged, "the checksum of .* in it is wrong: the file was damaged"),
    "list": (saved([torch.zeros(1)]), "must hold a state_dict, it holds a list"),
    "number": (saved(3), "must hold a state_dict, it holds a int"),
    "tensor": (saved(torch.zeros(1)), "must hold a state_dict, it holds a Tensor"),
    "nothing": (saved({}), "must hold a state_dict of tensors, there is none in it"),
    "no tensors": (saved({"epoch": 3}), "must hold a state_dict of tensors, there is none"),
    "whole numbers as names": (saved({0: torch.zeros(1)}), "by name, it has the entry 0"),
    "inner numbers": (saved({"model": {1: torch.zeros(1)}}), "by name, it has the entry 1"),
    "sparse": (
        changed("fc.weight", torch.eye(4)[:2].to_sparse()),
        "must hold fc.weight as a plain tensor, it is sparse_coo",
    ),
    "sparse rows": (
        changed("fc.weight", torch.eye(4)[:2].to_sparse_csr()),
        "must hold fc.weight as a plain tensor, it is sparse_csr",
    ),
    "meta": (
        changed("fc.weight", torch.zeros(2, 4, device="meta")),
        "must hold fc.weight as a plain tensor, it is a meta tensor, without values",
    ),
    "quantized": (
        changed("fc.weight", torch.quantize_per_tensor(torch.zeros(2, 4), 0.1, 0, torch.qint8)),
        "must hold fc.weight as a plain tensor, it is quantized",
    ),
    "integers": (
        changed("fc.weight", torch.zeros(2, 4, dtype=torch.int8)),
        "in floats, it is int8",
    ),
    "complex": (
        changed("fc.weight", torch.zeros(2, 4, dtype=torch.complex64)),
        "fc.weight in floats, it is complex64",
    ),
    "shape": (changed("fc.weight", torch.zeros(3, 4)), r"fc.weight must be \(2, 4\), it is \(3, 4"),
    "nan": (changed("fc.bias", torch.tensor([0.0, torch.nan])), "finite numbers, fc.bias has oth"),
    "infinite": (changed("fc.bias", torch.tensor([0.0, torch.inf])), "finite numbers, fc.bias"),
    "variance": (changed("bn.running_var", -torch.ones(4)), "of at least 0, bn.running_var has"),
    "terminal codes": (
        saved({"\x1b[31mred": torch.zeros(1)}),
        r"another network: 9 entries .* missing, 1 entries \('\\x1b\[31mred' …\) are unknown",
    ),
    "other": (saved({"a": torch.zeros(1)}), "a checkpoint of another network: 9 entries"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_it_is_refused_in_one_sentence_and_runs_nothing(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "a.pt"
    make, sentence = REFUSED[name]
    make(path)
    network = Small()
    before = {n: t.clone() for n, t in network.state_dict().items()}
    with pytest.raises(ValueError, match=sentence) as caught:
        load_checkpoint(network, path)
    text = str(caught.value)
    assert text.startswith(str(path)) and "\n" not in text and text.isprintable()
    assert not any(word in text for word in ("weights_only", "torch.load", "Re-running", "github"))
    assert not (tmp_path / "ran").exists()
    assert all(torch.equal(before[n], t) for n, t in network.state_dict().items())


def test_no_memory_is_not_the_files_fault(tmp_path, monkeypatch):
    def full(*_args, **_settings):
        raise MemoryError

    path = tmp_path / "a.pt"
    torch.save(sound(), path)
    monkeypatch.setattr(torch, "load", full)
    with pytest.raises(MemoryError):
        load_checkpoint(Small(), path)


SEVERAL = {"model": sound(), "model_ema": {f"module.{n}": t * 2 for n, t in sound().items()}}


def test_of_several_state_dicts_one_is_named(tmp_path):
    path = tmp_path / "a.pt"
    torch.save({**SEVERAL, "optimizer": {"state": {}, "param_groups": []}}, path)
    with pytest.raises(ValueError, match="2 state_dicts, model, model_ema: network.entry must"):
        load_checkpoint(Small(), path)
    with pytest.raises(ValueError, match="got 'ema'; there are: model, model_ema"):
        load_checkpoint(Small(), path, "ema")
    for entry, factor in (("model", 1), ("model_ema", 2)):
        network = Small()
        load_checkpoint(network, path, entry)
        assert torch.equal(network.fc.weight, factor * sound()["fc.weight"])
    torch.save({"G": sound(), "D": {"w": torch.ones(1)}}, path)
    with pytest.raises(ValueError, match="holds 2 state_dicts, G, D: network.entry must name one"):
        load_checkpoint(Small(), path)
    torch.save(sound(), path)
    with pytest.raises(ValueError, match="got 'model'; there are: none by name"):
        load_checkpoint(Small(), path, "model")


def test_a_network_that_is_held_under_a_name_of_a_wrapper_keeps_it(tmp_path):
    held = nn.ModuleDict({"model": Small()})
    torch.save(held.state_dict(), tmp_path / "a.pt")
    again = nn.ModuleDict({"model": Small()})
    load_checkpoint(again, tmp_path / "a.pt")
    assert torch.equal(again["model"].fc.weight, held["model"].fc.weight)


@pytest.mark.parametrize("name", ["a.safetensors", "a.bin"])
def test_safetensors_are_read(tmp_path, name):
    torch_files = pytest.importorskip("safetensors.torch")
    path = tmp_path / name
    halves = {f"module.{n}": t.half() if t.is_floating_point() else t for n, t in sound().items()}
    torch_files.save_file(halves, path)
    network = Small()
    load_checkpoint(network, path)
    torch.testing.assert_close(network.fc.weight, sound()["fc.weight"], atol=1e-2, rtol=0)
    assert network.fc.weight.dtype == torch.float32
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(ValueError, match="must be a safetensors file: it is another kind of file"):
        load_checkpoint(network, path)


def test_a_whole_network_is_refused_with_the_line_that_saves_its_weights(tmp_path):
    torch.save({"model": Small(), "epoch": 3}, tmp_path / "a.pt")
    with pytest.raises(ValueError, match=r"torch.save\(model.state_dict\(\), 'weights.pt'\)$"):
        load_checkpoint(Small(), tmp_path / "a.pt")


def test_a_network_that_asks_for_its_version_is_loaded(tmp_path):
    """MNASNet looks for a version beside the weights, which plain dictionaries have not."""
    network = get_model("mnasnet0_5", weights=None, num_classes=3)
    torch.save(dict(network.state_dict()), tmp_path / "a.pt")
    again = get_model("mnasnet0_5", weights=None, num_classes=3)
    load_checkpoint(again, tmp_path / "a.pt")
    assert torch.equal(again.classifier[1].weight, network.classifier[1].weight)
