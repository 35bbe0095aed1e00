"""Whether a user's own function gives networks that trials can begin with, and train."""

import copy

import torch
import torch.nn.functional as F
from torch import nn

from trainables.config import NetworkConfig
from trainables.networks.build import build_network, logits_of
from trainables.own_settings import SettingChanged, root_of, settings_kept, told


def require_again(network: nn.Module, config: NetworkConfig, n_classes: int) -> None:
    """Raise ValueError unless a user's function gives such a network whenever it is called, and
    none that it gave before: each trial begins with one of its own. Weights are drawn by the seed
    alone; where they are trained from there, another seed gives others."""
    name = config.name
    first, again, other = (_drawn(config, n_classes, seed) for seed in (0, 0, 1))
    parts = [{id(t) for t in (*n.parameters(), *n.buffers())} for n in (network, first, again)]
    if parts[0] & parts[1] or parts[1] & parts[2]:
        raise ValueError(
            f"network.name={name!r} must give a new network whenever it is called, it gives "
            "weights that it gave before"
        )
    shapes = [{n: tuple(t.shape) for n, t in x.state_dict().items()} for x in (network, again)]
    if shapes[0] != shapes[1]:
        which = min({each for each, _ in shapes[0].items() ^ shapes[1].items()})
        before, after = (each.get(which, "not there") for each in shapes)
        raise ValueError(
            f"network.name={name!r} must give the same network whenever it is called: "
            f"{which} is {before}, and then {after}"
        )
    if changing := _different(first, again):
        raise ValueError(
            f"network.name={name!r} must draw its weights from torch's generator alone, which the "
            f"seed of a trial sets: {changing} differs between two calls with one seed"
        )
    if config.weights == "train" and not _different(first, other):
        raise ValueError(
            f"network.name={name!r} must draw its weights anew for each seed, it gives the same "
            "ones for two: leave torch.manual_seed to the seed of the trial, or give weights that "
            "are trained by network.weights=file"
        )


def require_trainable(network: nn.Module, name: str, n_classes: int, pixels: int) -> None:
    """Raise ValueError unless the network can train: a step on two images of noise changes what it
    has. Nothing of the network itself changes."""
    for each, tensor in network.named_parameters():
        if tensor.dtype != torch.float32:
            kind = str(tensor.dtype).removeprefix("torch.")
            raise ValueError(
                f"network.name={name!r} must have weights of float32, {each} is of {kind}"
            )
    if not any(parameter.requires_grad for parameter in network.parameters()):
        raise ValueError(
            f"network.name={name!r} must have weights that can be trained, all are frozen "
            "(requires_grad=False)"
        )
    trained = copy.deepcopy(network).cpu().train()
    try:
        with torch.enable_grad(), torch.random.fork_rng(devices=[]), settings_kept(name):
            logits, _ = logits_of(trained(torch.randn(2, 3, pixels, pixels)))
            F.cross_entropy(logits, torch.arange(2) % n_classes).backward()
    except SettingChanged:
        raise
    except Exception as error:
        raise ValueError(
            f"network.name={name!r} must be able to train, a step on two images of {pixels} pixels "
            f"raises {told(error, root_of(name))}"
        ) from error
    if not any(p.grad is not None for p in trained.parameters()):
        raise ValueError(
            f"network.name={name!r} must be able to train, no weight that can be trained has a "
            "part in its logits"
        )


def _drawn(config: NetworkConfig, n_classes: int, seed: int) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build_network(config.untrained, n_classes)


def _different(one: nn.Module, other: nn.Module) -> str:
    """The first of their parameters that have other numbers; "" where all have the same."""
    for (name, a), b in zip(one.named_parameters(), other.parameters(), strict=False):
        if a.shape != b.shape or not torch.equal(a.nan_to_num(), b.nan_to_num()):
            return name
    return ""
