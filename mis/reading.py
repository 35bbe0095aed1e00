"""Seeing what layers of a network give while it runs, keeping nothing of it."""

import difflib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager

import torch
from torch import Tensor, nn

Through = Mapping[str, Callable[[Tensor], Tensor]]
"""Layer -> what its outputs, a copy of them, go through before they are seen: an activation that is
no module of its own, or another order of dimensions."""

_KINDS = {2: "[batch, channel]", 4: "[batch, channel, h, w]"}


@contextmanager
def watching(
    network: nn.Module,
    layers: Sequence[str],
    through: Through,
    see: Callable[[str, Tensor], None],
    *,
    dims: Sequence[int] = (4,),
) -> Iterator[Callable[[Tensor], None]]:
    """Within it, a function that runs images through the network and shows `see` every layer.

    see: called in each pass with every layer's name and its outputs in float32, while nothing
        downstream can have overwritten them; it must not keep them.
    dims: how many dimensions outputs may have: 4, maps [batch, channel, h, w], or 2, [batch,
        channel].
    Raises ValueError for a network in training mode, and layers that it lacks, that come twice, do
    not run exactly once a pass or give something else; and for a name in through that is no layer.
    """
    modules = _modules(network, layers)
    others = sorted(set(through) - set(layers))
    if others:
        raise ValueError(f"through must name layers that are read, {others} are not")
    met: set[str] = set()

    def hook_of(layer: str) -> Callable[..., None]:
        def hook(_module: nn.Module, _inputs: tuple[object, ...], output: object) -> None:
            if layer in met:
                raise ValueError(f"every layer must run once a pass, {layer!r} runs more often")
            met.add(layer)
            if not isinstance(output, Tensor) or output.ndim not in dims:
                got = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
                legal = " or ".join(_KINDS[n] for n in sorted(dims, reverse=True))
                raise ValueError(f"layer {layer!r} must give {legal}, got {got}")
            if layer in through:  # which may write in place
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


def _modules(network: nn.Module, layers: Sequence[str]) -> dict[str, nn.Module]:
    if any(module.training for module in network.modules()):
        raise ValueError("the network must be in eval mode, but a module of it is training")
    if not layers or len(set(layers)) < len(layers):
        raise ValueError(f"layers must name modules, each once, got {list(layers)}")
    modules = {name: module for name, module in network.named_modules() if name}
    for layer in layers:
        if layer not in modules:
            legal = difflib.get_close_matches(layer, modules, n=5) or list(modules)
            raise ValueError(f"the network has no module {layer!r}; it has {', '.join(legal)}")
    return {layer: modules[layer] for layer in layers}
