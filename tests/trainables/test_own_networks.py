"""What a user's own function gives, and does on the way: each trial begins alike, and can train."""

import sys

import pytest

from trainables import own_settings
from trainables.config import NetworkConfig, TrainConfig
from trainables.networks import (
    build_network,
    find_code,
    require_again,
    require_pixels,
    require_trainable,
)

MODULE = """
import random
import torch
from torch import nn

def make(num_classes):
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
                         nn.Linear(4, num_classes))

def doubles(num_classes):
    torch.set_default_dtype(torch.float64)
    return make(num_classes)

def no_gradients(num_classes):
    network = make(num_classes)
    torch.set_grad_enabled(False)
    return network

def one_thread(num_classes):
    torch.set_num_threads(torch.get_num_threads() + 1)
    return make(num_classes)

def on_meta(num_classes):
    torch.set_default_device("meta" if torch.get_default_device().type == "cpu" else "cpu")
    return make(num_classes)

def seeded(num_classes):
    torch.manual_seed(0)
    return make(num_classes)

def constant(num_classes):
    network = make(num_classes)
    for parameter in network.parameters():
        nn.init.constant_(parameter, 0.1)
    return network

def by_chance(num_classes):
    network = make(num_classes)
    nn.init.constant_(network[0].bias, random.random())
    return network

def frozen(num_classes):
    return make(num_classes).requires_grad_(False)

def half_frozen(num_classes):
    network = make(num_classes)
    network[0].requires_grad_(False)
    return network

def double(num_classes):
    return make(num_classes).double()

class In(nn.Module):
    def __init__(self, network, how):
        super().__init__()
        self.network, self.how = network, how

    def forward(self, x):
        return self.how(self, self.network(x))

def turns_off(self, y):
    torch.set_grad_enabled(False)
    return y

def turned_off(num_classes):
    return In(make(num_classes), turns_off)

def detached(num_classes):
    return In(make(num_classes), lambda self, y: y.detach())

def spoils(self, y):
    z = y.sigmoid()
    z.mul_(2)
    return z

def in_place(num_classes):
    return In(make(num_classes), spoils)

def in_training(self, y):
    if self.training and torch.is_grad_enabled():
        raise LookupError("no labels")
    return y

def labelled(num_classes):
    return In(make(num_classes), in_training)
"""


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder where the user stands, with the module; others are as before when it ends."""
    known, paths = set(sys.modules), list(sys.path)
    (tmp_path / "own_net.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PYTHONPATH", raising=False)
    yield tmp_path
    for name in set(sys.modules) - known:
        if name.partition(".")[0] in ("own_net", "own_nets", "at_once", "by_import"):
            del sys.modules[name]
    sys.path[:] = paths


def config(name, weights="random"):
    recipe = TrainConfig() if weights == "train" else None
    return NetworkConfig(name=name, weights=weights, recipe=recipe)


def check_training(name):
    require_trainable(build_network(config(name), 7), name, 7, 16)


@pytest.mark.parametrize(
    ("name", "what"),
    [
        (
            "own_net:doubles",
            "default dtype as it was, torch.float32: its code makes it torch.float64",
        ),
        ("own_net:no_gradients", "gradients as it was, True: its code makes it False for the wh"),
        ("own_net:one_thread", "number of threads as it was"),
        ("own_net:on_meta", "default device as it was"),
        ("own_net:turned_off", "gradients as it was"),
        ("at_once:make", "default dtype as it was"),
        ("by_import:make", "default dtype as it was"),
    ],
)
def test_settings_of_the_whole_process_are_left_alone(here, name, what):
    (here / "at_once.py").write_text(f"{MODULE}\ntorch.set_default_dtype(torch.float64)")
    (here / "by_import.py").write_text(f"import at_once\n{MODULE}")
    before = own_settings._settings()
    for _ in range(2):
        with pytest.raises(ValueError, match=f"'{name}' must leave torch's {what}"):
            require_pixels(config(name), 16)
            check_training(name)
        assert own_settings._settings() == before


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("frozen", r"must have weights that can be trained, all are frozen \(requires_grad=Fa"),
        ("double", "must have weights of float32, 0.weight is of float64"),
        ("detached", "a step on two images of 16 pixels raises RuntimeError: element 0"),
        ("in_place", "raises RuntimeError: .* modified by an inplace operation"),
        ("labelled", r"raises LookupError: no labels \(own_net.py, line \d+\)$"),
    ],
)
def test_a_network_that_cannot_train_is_refused(here, name, what):
    with pytest.raises(ValueError, match=what) as refused:
        check_training(f"own_net:{name}")
    assert "\n" not in str(refused.value)
    check_training("own_net:half_frozen")


def test_each_seed_draws_weights_of_its_own_where_they_are_trained(here):
    def again(function, weights):
        network = config(f"own_net:{function}", weights)
        require_again(build_network(network, 7), network, 7)

    again("make", "train")
    for function in ("seeded", "constant"):
        with pytest.raises(ValueError, match="must draw its weights anew for each seed, it gives"):
            again(function, "train")
        again(function, "random")
    for weights in ("train", "random"):
        with pytest.raises(ValueError, match="0.bias differs between two calls with one seed"):
            again("by_chance", weights)


def test_a_folder_of_code_that_is_linked_into_the_package_travels(here):
    (here / "own_nets").mkdir()
    (here / "own_nets" / "net.py").write_text("from own_nets.blocks.inner import part")
    (here / "shared" / "inner").mkdir(parents=True)
    (here / "shared" / "__init__.py").touch()
    (here / "shared" / "inner" / "part.py").write_text("WIDTH = 3")
    (here / "shared" / "back").symlink_to(here / "own_nets")
    (here / "own_nets" / "blocks").symlink_to(here / "shared")
    (here / "own_nets" / "again").symlink_to(here / "shared")
    (here / "own_nets" / "up").symlink_to(here)
    (here / "own_nets" / "data").symlink_to("/usr")
    code = find_code("own_nets.net:make")
    assert code.files == (
        *("own_nets/again/__init__.py", "own_nets/again/inner/part.py"),
        *("own_nets/blocks/__init__.py", "own_nets/blocks/inner/part.py", "own_nets/net.py"),
    )
    first = code.digest
    (here / "shared" / "inner" / "part.py").write_text("WIDTH = 4")
    assert find_code("own_nets.net:make").digest != first
