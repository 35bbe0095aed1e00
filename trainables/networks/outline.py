"""A network without its weights: whether images of a size go through it, and how large it is."""

import copy
from bisect import bisect_left
from contextlib import suppress
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from trainables.config import NetworkConfig
from trainables.network_names import is_own
from trainables.networks.build import build_network, logits_of
from trainables.own_settings import SettingChanged, root_of, settings_kept, told

_CLASSES = (10, 1_000)  # of networks that are only looked at; one's own may know ImageNet's alone
_LARGEST = 512  # pixels up to which the smallest size is looked for


def n_parameters(config: NetworkConfig) -> int:
    """Of a network with few classes."""
    return sum(p.numel() for p in outline(config)[0].parameters())


def outline(config: NetworkConfig) -> tuple[nn.Module, int]:
    """The untrained network, on the meta device: its shapes and nothing else; and its classes.

    Raises ValueError for what `build_network` refuses.
    """
    return _outline(config.untrained)


@lru_cache(8)
def _outline(config: NetworkConfig) -> tuple[nn.Module, int]:
    few, others = _CLASSES[0], _CLASSES[1:]
    try:
        return outline_with(config, few), few
    except SettingChanged:
        raise
    except Exception:
        for n_classes in others if is_own(config.name) else ():
            with suppress(Exception):
                return outline_with(config, n_classes), n_classes
        raise


def outline_with(config: NetworkConfig, n_classes: int) -> nn.Module:
    """As `outline`, of a network that is `untrained`, with so many classes."""
    try:
        with torch.device("meta"):
            return build_network(config, n_classes)
    except Exception:  # RegNet reads what it has drawn, and others may
        with torch.random.fork_rng(devices=[]):
            return build_network(config, n_classes).to("meta")


@lru_cache(64)
def require_pixels(config: NetworkConfig, pixels: int) -> None:
    """Raise ValueError, in one sentence, unless square images of so many pixels go through the
    network, in training and in evaluation, and give a logit per class."""
    network, n_classes = outline(config)
    require_logits(network, config.name, n_classes, pixels, heads=config.aux_heads)


def require_logits(
    network: nn.Module, name: str, n_classes: int, pixels: int, *, heads: bool = False
) -> None:
    """Raise ValueError unless images of a size give logits [image, class] and, in training alone
    and where it has `heads`, more of them. Nothing of the network changes."""
    if not any(isinstance(module, nn.Conv2d) for module in network.modules()):
        raise ValueError(f"network.name={name!r} must have convolutions, it has none")
    if lazy := next((n for n, p in network.named_parameters() if is_lazy(p)), None):
        raise ValueError(
            f"network.name={name!r} must have all its shapes when it is made, {lazy} gets its own "
            "with the first images"
        )
    for mode in (False, True):
        try:
            with settings_kept(name):
                output = forward_of_shapes(network, pixels, training=mode)
        except (KeyboardInterrupt, SettingChanged):
            raise
        except BaseException as error:  # whatever a forward pass does, sys.exit() included
            raise ValueError(_too_small(network, name, pixels, mode, error)) from error
        kind = "in training" if mode else "in evaluation"
        if not isinstance(output, Tensor) and not (heads and mode):
            raise ValueError(
                f"network.name={name!r} must give a tensor of logits, {kind} it gives a "
                f"{type(output).__name__}"
            )
        found = tuple(logits_of(output)[0].shape)
        if found != (2, n_classes):
            raise ValueError(
                f"network.name={name!r} must give {n_classes} logits per image, of 2 images "
                f"{(2, n_classes)}, {kind} it gives {found}"
            )


def forward_of_shapes(
    network: nn.Module, pixels: int, *, training: bool = False, n_images: int = 2
) -> Any:
    """What comes out for so many square images. On the meta device; a network that looks at its
    numbers is run on zeros. Nothing of the network changes."""
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        try:
            on_meta = copy.deepcopy(network).to("meta").train(training)
            return on_meta(torch.empty(n_images, 3, pixels, pixels, device="meta"))
        except Exception as error:
            if "meta" not in str(error).lower():
                raise
        return _with_numbers(network).train(training)(torch.zeros(n_images, 3, pixels, pixels))


def _with_numbers(network: nn.Module) -> nn.Module:
    """A copy on the CPU; of an outline, which has no weights, one whose weights are 0."""
    if next(network.parameters()).device.type != "meta":
        return copy.deepcopy(network).cpu()
    empty = copy.deepcopy(network).to_empty(device="cpu")
    for tensor in (*empty.parameters(), *empty.buffers()):
        tensor.zero_()
    return empty


def _too_small(
    network: nn.Module, name: str, pixels: int, training: bool, error: BaseException
) -> str:
    """Why images of a size do not go through."""

    def goes(size: int) -> bool:
        try:
            forward_of_shapes(network, size, training=training)
        except (Exception, SystemExit):
            return False
        return True

    if goes(_LARGEST):
        sizes = range(pixels + 1, _LARGEST + 1)
        least = sizes[bisect_left(sizes, True, key=goes)]
        what = f"{name} in training, auxiliary heads included" if training else name
        return f"data.pixels must be at least {least} for {what}, got {pixels}"
    return (
        f"images of {pixels} pixels must go through network.name={name!r}, its forward pass raises "
        f"{told(error, root_of(name) if is_own(name) else None)}"
    )
