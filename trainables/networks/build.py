"""torchvision's networks: how they are built, named and described."""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.models import (
    VGG,
    GoogLeNet,
    GoogLeNet_Weights,
    ResNet,
    ResNet50_Weights,
    VGG16_BN_Weights,
    VGG16_Weights,
    googlenet,
    resnet50,
    vgg16,
    vgg16_bn,
)

from trainables.config import NetworkConfig
from trainables.networks.checkpoints import file_digest, first_line, load_checkpoint, why

_BUILDERS: dict[str, Callable[..., nn.Module]] = {
    "googlenet": googlenet,
    "resnet50": resnet50,
    "vgg16": vgg16,
    "vgg16_bn": vgg16_bn,
}
_IMAGENET = {
    "googlenet": GoogLeNet_Weights.IMAGENET1K_V1,
    "resnet50": ResNet50_Weights.IMAGENET1K_V1,
    "vgg16": VGG16_Weights.IMAGENET1K_V1,
    "vgg16_bn": VGG16_BN_Weights.IMAGENET1K_V1,
}


def build_network(config: NetworkConfig, n_classes: int) -> nn.Module:
    """The dense network, untrained or with the weights that the config names.

    "train" and "random" give PyTorch's default initialisation (torchvision's own truncated normal
    of GoogLeNet takes a minute), drawn from the global generator; "imagenet" torchvision's
    weights, from its cache folder or the internet; "file" a state_dict. The auxiliary heads of
    GoogLeNet start untrained with "imagenet", as torchvision warns.

    Raises ValueError when the weights cannot be had, or are for another network or another number
    of classes.
    """
    if config.weights == "imagenet":
        return _imagenet_network(config, n_classes)
    network = _BUILDERS[config.name](weights=None, **_arguments(config, n_classes))
    if config.weights == "file":
        path = Path(config.checkpoint or "")
        if config.digest and file_digest(path) != config.digest:
            raise ValueError(
                f"the checkpoint must stay as it was when the sweep was planned, {path} has "
                "changed; plan it anew"
            )
        load_checkpoint(network, path)
    return network


def _arguments(config: NetworkConfig, n_classes: int) -> dict[str, Any]:
    arguments: dict[str, Any] = {"num_classes": n_classes}
    if config.name != "resnet50":  # whose initialisation is quick, and cannot be left out
        arguments["init_weights"] = False
    if config.name == "googlenet":
        arguments["aux_logits"] = config.aux_heads
        arguments["transform_input"] = config.transform_input
    return arguments


def _imagenet_network(config: NetworkConfig, n_classes: int) -> nn.Module:
    weights = _IMAGENET[config.name]
    if n_classes != len(weights.meta["categories"]):
        raise ValueError(
            f"ImageNet weights have 1000 classes, the data has {n_classes}: use a folder with "
            "all classes, or network.weights='train'"
        )
    # torchvision refuses aux_logits=False beside weights: it is what leaving it out means.
    heads = {"aux_logits": True} if config.aux_heads else {}
    folder = f"{torch.hub.get_dir()}/checkpoints"
    try:
        with warnings.catch_warnings():  # that the auxiliary heads are untrained: so our docs say
            warnings.filterwarnings("ignore", "auxiliary heads")
            return _BUILDERS[config.name](weights=weights, **heads)
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


def network_arguments(network: nn.Module) -> dict[str, Any]:
    """What `rebuild` needs: "name" of a function of torchvision.models, and its arguments.

    Raises ValueError for a network that is none of those that `build_network` builds.
    """
    if isinstance(network, GoogLeNet):
        return {
            "name": "googlenet",
            "num_classes": network.fc.out_features,
            "aux_logits": network.aux_logits,
            "transform_input": network.transform_input,
            "init_weights": False,
        }
    if (
        isinstance(network, ResNet)
        and len(network.layer3) == 6
        and hasattr(network.layer1[0], "conv3")
    ):
        return {"name": "resnet50", "num_classes": network.fc.out_features}
    if isinstance(network, VGG):
        has_norms = any(isinstance(m, nn.BatchNorm2d) for m in network.features)
        name, last = "vgg16_bn" if has_norms else "vgg16", network.classifier[-1]
        return {"name": name, "num_classes": last.out_features, "init_weights": False}
    raise ValueError(
        f"a network must be one of {', '.join(_BUILDERS)}, got a {type(network).__name__}"
    )


def rebuild(arguments: dict[str, Any]) -> nn.Module:
    """The untrained network that `network_arguments` describes."""
    left = {name: value for name, value in arguments.items() if name != "name"}
    return _BUILDERS[arguments["name"]](weights=None, **left)


def logits_of(output: Any) -> tuple[Tensor, list[Tensor]]:
    """The class logits, and those of the auxiliary heads (in training, where there are any)."""
    if isinstance(output, Tensor):
        return output, []
    main, second, first = output  # torchvision's order: logits, aux2, aux1
    return main, [head for head in (first, second) if head is not None]
