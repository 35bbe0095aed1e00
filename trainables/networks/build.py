"""Networks by name: of torchvision, of timm, or a user's own function; built and described."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from torchvision.models import get_model

from trainables.config import NetworkConfig
from trainables.network_names import HEADS, TIMM, is_own
from trainables.networks.checkpoints import checkpoint_state, file_digest
from trainables.networks.heads import with_weights
from trainables.networks.imagenet import imagenet_classes, imagenet_network
from trainables.own_import import own_function
from trainables.own_settings import called


def build_network(config: NetworkConfig, n_classes: int) -> nn.Module:
    """The dense network, untrained or with the weights that the config names.

    "train" and "random" give the initialisation of the network's makers, but PyTorch's default
    one for GoogLeNet and Inception (torchvision's own truncated normal takes a minute) and VGG,
    drawn from the global generator; "imagenet" torchvision's or timm's weights, from their cache
    folders or the internet; "file" a state_dict. Auxiliary heads of GoogLeNet start untrained with
    "imagenet", as torchvision warns. A new head is drawn as it is in an untrained network.

    Raises ValueError when the network cannot be built, the weights cannot be had, or are for
    another network or, but with a new head or a kept one, another number of classes.
    """
    if config.weights in ("train", "random"):
        return rebuild(network_arguments(config, n_classes))
    if config.weights == "imagenet":
        if config.head is None:
            _require_classes(imagenet_classes(config), n_classes)
            return imagenet_network(config)
        network = rebuild(network_arguments(config, n_classes))
        return with_weights(network, config, imagenet_network(config).state_dict(), config.name)
    network = rebuild(network_arguments(config, n_classes))
    path = Path(config.checkpoint or "")
    if config.digest and file_digest(path) != config.digest:
        raise ValueError(
            f"the checkpoint must stay as it was when the sweep was planned, {path} has "
            "changed; plan it anew"
        )
    return with_weights(network, config, checkpoint_state(network, path, config.entry), path)


def _require_classes(there: int, n_classes: int) -> None:
    if n_classes != there:
        raise ValueError(
            f"ImageNet weights have {there} classes, the data has {n_classes}: network.recipe must "
            "say how a new head is trained (SET=network.recipe.epochs=10), or the folder have all "
            "classes, or network.weights be 'train'"
        )


def network_arguments(config: NetworkConfig, n_classes: int) -> dict[str, Any]:
    """What `rebuild` needs: "name", as a config has it, the arguments of that network, and of a
    user's own function the digest of its "code"."""
    arguments: dict[str, Any] = {"name": config.name, "num_classes": n_classes}
    if is_own(config.name):
        arguments["code"] = config.code
    if config.name in HEADS:
        arguments["aux_logits"] = config.aux_heads
        # The weights of ImageNet were trained with it.
        arguments["transform_input"] = config.transform_input or config.weights == "imagenet"
    if config.name in HEADS or config.name.startswith("vgg"):
        arguments["init_weights"] = False
    return arguments


def rebuild(arguments: dict[str, Any]) -> nn.Module:
    """The untrained network that `network_arguments` describes.

    Raises ValueError where a user's own function is not there, or gives no network.
    """
    left = {name: value for name, value in arguments.items() if name not in ("name", "code")}
    name = arguments["name"]
    if is_own(name):
        return _own(name, own_function(name, arguments.get("code", "")), **left)
    if name.startswith(TIMM):
        import timm

        network: nn.Module = timm.create_model(name.removeprefix(TIMM), pretrained=False, **left)
        return network
    return get_model(name, weights=None, **left)


def _own(name: str, function: Callable[..., Any], num_classes: int) -> nn.Module:
    """What a user's own function gives."""
    call = f"{name.partition(':')[2]}(num_classes={num_classes})"
    must = f"be called as {call} and give a network, it"
    network = called("network.name", name, must, lambda: function(num_classes=num_classes))
    if not isinstance(network, nn.Module):
        raise ValueError(
            f"network.name={name!r} must give an nn.Module, it gives a {type(network).__name__}"
        )
    return network


def logits_of(output: Any) -> tuple[Tensor, list[Tensor]]:
    """The class logits, and those of the auxiliary heads (in training, where there are any)."""
    if isinstance(output, Tensor):
        return output, []
    main, *heads = output  # torchvision's order: the logits come first
    return main, [head for head in heads if head is not None]
