"""torchvision's GoogLeNet, and what is peculiar to it."""

import copy
import hashlib
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode
from torchvision.models import GoogLeNet, GoogLeNet_Weights, googlenet

from trainables.config import NetworkConfig

BLOCKS = ("3a", "3b", "4a", "4b", "4c", "4d", "4e", "5a", "5b")
_ENDS = ("branch1", "branch2.1", "branch3.1", "branch4.1")  # what a block concatenates, in order
_STARTS = ("branch1", "branch2.0", "branch3.0", "branch4.1")  # what reads its input


def build_network(config: NetworkConfig, n_classes: int) -> GoogLeNet:
    """The dense network, untrained or with the weights that the config names.

    "train" and "random" give PyTorch's default initialisation (torchvision's own truncated normal
    takes a minute), drawn from the global generator; "imagenet" torchvision's weights, from its
    cache folder or the internet; "file" a state_dict. The auxiliary heads of "imagenet" start
    untrained, as torchvision warns.

    Raises ValueError when the weights cannot be had, or are for another network or another number
    of classes.
    """
    if config.weights == "imagenet":
        return _imagenet_network(config.aux_heads, n_classes)
    network = googlenet(
        weights=None,
        init_weights=False,
        aux_logits=config.aux_heads,
        transform_input=config.transform_input,
        num_classes=n_classes,
    )
    if config.weights == "file":
        load_checkpoint(network, Path(config.checkpoint or ""))
    return network


def _imagenet_network(aux_heads: bool, n_classes: int) -> GoogLeNet:
    weights = GoogLeNet_Weights.IMAGENET1K_V1
    if n_classes != len(weights.meta["categories"]):
        raise ValueError(
            f"ImageNet weights have 1000 classes, the data has {n_classes}: use a folder with "
            "all classes, or network.weights='train'"
        )
    # torchvision refuses aux_logits=False beside weights: it is what leaving it out means.
    heads = {"aux_logits": True} if aux_heads else {}
    folder = f"{torch.hub.get_dir()}/checkpoints"
    try:
        with warnings.catch_warnings():  # that the auxiliary heads are untrained: so our docs say
            warnings.filterwarnings("ignore", "auxiliary heads")
            return googlenet(weights=weights, **heads)
    except OSError as error:
        raise ValueError(
            f"{weights} must be downloaded from {weights.url}, or put into {folder} by hand: "
            f"{_first_line(error)}"
        ) from error
    except Exception as error:
        # Anything may be in the file, and torch.load raises as many kinds of errors.
        raise ValueError(
            f"{weights} must be torchvision's checkpoint of GoogLeNet; what was found in "
            f"{folder} is not: {_first_line(error)}"
        ) from error


def load_checkpoint(network: nn.Module, path: Path) -> None:
    """Load a state_dict that must fit `network` exactly; ValueError says what does not."""
    if not path.is_file():
        raise ValueError(f"the checkpoint must be a file, {path} is none")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        # Anything may be in the file, and torch.load raises as many kinds of errors.
        raise ValueError(
            f"{path} must be a state_dict saved by torch.save: {_first_line(error)}"
        ) from error
    expected = network.state_dict()
    if not isinstance(state, dict) or not all(isinstance(v, Tensor) for v in state.values()):
        raise ValueError(f"{path} must hold a plain state_dict of tensors, it does not")
    missing = [name for name in expected if name not in state]
    unexpected = [name for name in state if name not in expected]
    if missing or unexpected:
        raise ValueError(
            f"{path} is a checkpoint of another network: {_count(missing)} are missing, "
            f"{_count(unexpected)} are unknown"
        )
    wrong = [name for name, tensor in expected.items() if state[name].shape != tensor.shape]
    if wrong:
        raise ValueError(
            f"{path} is a checkpoint of another network: {wrong[0]} must be "
            f"{tuple(expected[wrong[0]].shape)}, it is {tuple(state[wrong[0]].shape)}"
        )
    network.load_state_dict(state)


def file_digest(path: Path) -> str:
    """16 hex digits of a file's contents. Raises ValueError when it is no file."""
    if not path.is_file():
        raise ValueError(f"the checkpoint must be a file, {path} is none")
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]


def _count(entries: list[str]) -> str:
    return f"{len(entries)} entries" + (f" ({', '.join(entries[:2])} …)" if entries else "")


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def unit_layers(network: GoogLeNet) -> list[str]:
    """Names of the layers whose units are scored, from input to output.

    Each convolution with its BatchNorm and ReLU (what later layers see), then the classifier;
    the auxiliary heads do nothing in evaluation and are left out.
    """
    return [*_readers(network), "fc"]


def _readers(network: GoogLeNet) -> dict[str, list[tuple[str, int]]]:
    """Layer, from input to output -> who reads it: (layer, number of its input channels before)."""
    readers = {
        "conv1": [("conv2", 0)],
        "conv2": [("conv3", 0)],
        "conv3": [(f"inception3a.{start}", 0) for start in _STARTS],
    }
    for block, following in zip(BLOCKS, (*BLOCKS[1:], None), strict=True):
        here = f"inception{block}"
        outside = ["fc"] if following is None else [f"inception{following}.{s}" for s in _STARTS]
        before = 0  # the pools between blocks keep channels as they are
        for end in _ENDS:
            start = end.replace(".1", ".0")
            if start in _STARTS and start != end:
                readers[f"{here}.{start}"] = [(f"{here}.{end}", 0)]
            readers[f"{here}.{end}"] = [(reader, before) for reader in outside]
            before += len(_weight(network, f"{here}.{end}"))
    return readers


def filter_sources(network: GoogLeNet) -> dict[str, list[str]]:
    """Convolution or fc -> the convolutions whose filters, end to end, are its input channels."""
    sources: dict[str, list[str]] = {}
    for layer, readers in _readers(network).items():
        for reader, _ in readers:
            name = reader if reader == "fc" else f"{reader}.conv"
            sources.setdefault(name, []).append(f"{layer}.conv")
    for head, block in (("aux1", "4a"), ("aux2", "4d")):
        if getattr(network, head) is not None:
            sources[f"{head}.conv.conv"] = [f"inception{block}.{end}.conv" for end in _ENDS]
    return sources


def _weight(network: GoogLeNet, layer: str) -> Tensor:
    """[filter, input channel, kernel positions] of a layer of `unit_layers`."""
    weight = network.get_parameter("fc.weight" if layer == "fc" else f"{layer}.conv.weight")
    return weight.detach().flatten(2) if weight.dim() > 2 else weight.detach().unsqueeze(2)


def unread_units(network: GoogLeNet) -> dict[str, Tensor]:
    """Layer -> bool [unit], True where no path of nonzero weights leads on to the classes.

    Such a unit may look alive, and a score would rate it, but the network does not use it.
    """
    read = {"fc": torch.ones(len(_weight(network, "fc")), dtype=torch.bool)}
    for layer, readers in reversed(_readers(network).items()):
        n_units = len(_weight(network, layer))
        read[layer] = torch.zeros(n_units, dtype=torch.bool)
        for reader, before in readers:
            weight = _weight(network, reader).cpu()[read[reader]]
            used = (weight != 0).any(2).any(0)
            read[layer] |= used[before : before + n_units]
    return {layer: ~read[layer] for layer in unit_layers(network)}


def logits_of(output: Any) -> tuple[Tensor, list[Tensor]]:
    """The class logits, and those of the auxiliary heads (in training, where there are any)."""
    if isinstance(output, Tensor):
        return output, []
    main, second, first = output  # torchvision's order: logits, aux2, aux1
    return main, [head for head in (first, second) if head is not None]


def count_cost(network: nn.Module, pixels: int) -> dict[str, float]:
    """Parameters, and multiply-adds of one image (convolutions and linear layers), as dense.

    Counted on the meta device by torch's own counter, so it costs milliseconds. Zeros count:
    what a mask leaves out is still computed.
    """
    on_meta = copy.deepcopy(network).to("meta").eval()
    with FlopCounterMode(display=False) as counter:
        on_meta(torch.empty(1, 3, pixels, pixels, device="meta"))
    return {
        "cost/params": float(sum(p.numel() for p in network.parameters())),
        "cost/macs": counter.get_total_flops() / 2,
    }
