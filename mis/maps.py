"""Seeing the activation maps of layers while the network runs, keeping none."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager

import torch
from torch import Tensor, nn

from mis.activations import find_modules


@contextmanager
def watching(
    network: nn.Module,
    layers: Sequence[str],
    through: Mapping[str, Callable[[Tensor], Tensor]],
    see: Callable[[str, Tensor], None],
) -> Iterator[Callable[[Tensor], None]]:
    """Within it, a function that runs images through the network and shows `see` every layer.

    see: called in each pass with every layer's name and its maps, float32 [batch, channel, h, w],
        while nothing downstream can have overwritten them; it must not keep them.
    through: layer -> what its maps, a copy of them, go through before they are shown.
    Raises ValueError for a network in training mode, and layers that it lacks, that come twice, do
    not run exactly once a pass or give no maps.
    """
    modules = find_modules(network, layers)
    met: set[str] = set()

    def hook_of(layer: str) -> Callable[..., None]:
        def hook(_module: nn.Module, _inputs: tuple[object, ...], output: object) -> None:
            if layer in met:
                raise ValueError(f"every layer must run once a pass, {layer!r} runs more often")
            met.add(layer)
            if not isinstance(output, Tensor) or output.ndim != 4:
                got = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
                raise ValueError(f"layer {layer!r} must give [batch, channel, h, w], got {got}")
            if layer in through:
                see(layer, through[layer](output.to(torch.float32, copy=True)))
            else:
                see(layer, output.float())

        return hook

    def run(images: Tensor) -> None:
        met.clear()
        with torch.inference_mode():
            network(images)
        silent = [layer for layer in layers if layer not in met]
        if silent:
            raise ValueError(f"every layer must run once a pass, {silent} did not")

    with ExitStack() as hooks:
        for layer, module in modules.items():
            hooks.callback(module.register_forward_hook(hook_of(layer)).remove)
        yield run
