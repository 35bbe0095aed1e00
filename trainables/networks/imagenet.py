"""Networks with ImageNet weights, as torchvision and timm keep them."""

import socket
import warnings
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import torch
from torch import nn
from torchvision.models import get_model, get_model_weights

from trainables.config import NetworkConfig
from trainables.datasets.images import MEAN, STD
from trainables.network_names import HEADS, TIMM, is_own
from trainables.networks.checkpoints import first_line, why

_PATIENCE = 5.0  # seconds for the host of the weights to answer


def imagenet_network(config: NetworkConfig) -> nn.Module:
    """The network of a config with weights="imagenet", with the head of these: torchvision's
    IMAGENET1K_V1, timm's default or those of the tag in its name.

    Raises ValueError where there are none, or they cannot be had, or want images that are scaled in
    another way than all are here.
    """
    imagenet_classes(config)
    if config.name.startswith(TIMM):
        return _of_timm(config.name)
    weights = _weights(config.name)
    folder = f"{torch.hub.get_dir()}/checkpoints"
    try:
        with warnings.catch_warnings():  # that the auxiliary heads are untrained: so our docs say
            warnings.filterwarnings("ignore", "auxiliary heads")
            return _with_heads(config, weights)
    except OSError as error:
        raise ValueError(
            f"{weights} must be downloaded from {weights.url}, or put into {folder} by hand: "
            f"{first_line(error)}"
        ) from error
    except Exception as error:
        # Anything may be in the file, and torch.load raises as many kinds of errors.
        raise ValueError(
            f"{weights} must be torchvision's checkpoint of {config.name}; what was found in "
            f"{folder} is not: {why(error)}"
        ) from error


def not_at_hand(name: str) -> str:
    """Why torchvision's ImageNet weights of a network can neither be read here nor downloaded; ""
    where they can. Of timm's networks, whose hub has a cache of its own, it is not asked."""
    if is_own(name):
        return "a network of one's own has none"
    if name.startswith(TIMM):
        return ""
    weights = getattr(get_model_weights(name), "IMAGENET1K_V1", None)
    if weights is None:
        return "torchvision has none"
    file = Path(torch.hub.get_dir()) / "checkpoints" / weights.url.rpartition("/")[2]
    if file.is_file():
        return ""
    host = urlsplit(weights.url).hostname or ""
    try:
        with socket.create_connection((host, 443), timeout=_PATIENCE):
            return ""
    except OSError as error:
        return f"{file} is not there, and {host} does not answer: {first_line(error)}"


def imagenet_classes(config: NetworkConfig) -> int:
    """How many classes the weights of such a config know; nothing is downloaded for it.

    Raises ValueError where there are none, or they want images that are scaled in another way.
    """
    if config.name.startswith(TIMM):
        there = _of_timm_configured(config.name)
        _require_scale(config.name, there)
        return int(there.num_classes)
    weights = _weights(config.name)
    _require_scale(config.name, weights.transforms())
    return len(weights.meta["categories"])


def _weights(name: str) -> Any:
    weights = getattr(get_model_weights(name), "IMAGENET1K_V1", None)
    if weights is None:
        raise ValueError(
            f"network.weights='imagenet' is of networks with weights IMAGENET1K_V1, torchvision "
            f"has none for {name}: use a checkpoint, network.weights='file'"
        )
    return weights


def _with_heads(config: NetworkConfig, weights: Any) -> nn.Module:
    """torchvision refuses aux_logits=False beside weights: to leave it out means that for
    GoogLeNet, and the opposite for Inception."""
    heads = {"aux_logits": True} if config.aux_heads else {}
    network = get_model(config.name, weights=weights, **heads)
    if config.name in HEADS and not config.aux_heads:
        network.aux_logits = False
        for name in HEADS[config.name]:
            setattr(network, name, None)
    return network


def _of_timm_configured(name: str) -> Any:
    import timm

    own = name.removeprefix(TIMM)
    there = timm.get_pretrained_cfg(own)
    if there is None or not there.has_weights:
        raise ValueError(f"network.weights='imagenet' needs weights, timm has none for {own}")
    return there


def _of_timm(name: str) -> nn.Module:
    import timm

    there = _of_timm_configured(name)
    try:
        network: nn.Module = timm.create_model(name.removeprefix(TIMM), pretrained=True)
    except Exception as error:  # of the hub, of the file, of the network
        raise ValueError(
            f"the weights of {name} must be downloaded from {there.hf_hub_id or there.url}, or lie "
            f"in the cache of huggingface_hub: {first_line(error)[:200]}"
        ) from error
    return network


def _require_scale(name: str, scaled: Any) -> None:
    """Raise ValueError unless weights want images as ours are.

    scaled: has the mean and the std that they were trained with.
    """
    pairs = zip((*scaled.mean, *scaled.std), (*MEAN, *STD), strict=True)
    if any(abs(one - other) > 1e-3 for one, other in pairs):
        raise ValueError(
            f"weights must be of images with mean {MEAN} and deviation {STD}, as all are scaled "
            f"here; those of {name} are of mean {tuple(scaled.mean)} and {tuple(scaled.std)}"
        )
