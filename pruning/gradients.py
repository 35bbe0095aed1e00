"""What does the loss say? The criteria that need labelled images: gradient and Taylor.

A filter or an input channel is scored by a gate, a number per sample that all positions of its map
are multiplied by (1) or raised by (0): the derivative of the loss by it is exact for every sample,
and costs no gradient of a weight.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pruning.granularity import GRANULARITIES
from pruning.masks import batchnorm_of

TARGETS = ("loss", "logit")


def gradient_scores(
    network: nn.Module,
    batches: Iterable[tuple[Tensor, Tensor]],
    criterion: Literal["gradient", "taylor"],
    granularity: str,
    names: Collection[str],
    target: Literal["loss", "logit"] = "loss",
) -> dict[str, Tensor]:
    """Score the groups of convolutions by how much L changes, to first order.

    batches: normalised images, float [sample, 3, height, width], and labels, int64 [sample], on
        the network's device. How the samples are split into batches does not matter.
    names: of the weights to score. L must depend on them in eval mode: auxiliary heads are out.
    target: what L is. "loss", as published: the cross-entropy with the labels, which says next to
        nothing of images that the network has fitted. "logit": the label's logit, which is not
        saturated there; LRP starts from it, too.

    "filter", taylor: |sum over positions of y x dL/dy|, to first order the change of L when the
        filter goes (Molchanov et al. 2017, sec. 2.2); its mean over samples. y is the filter's
        output after the BatchNorm that follows, if one does; after the ReLU it would be the same.
    "filter", gradient: |sum over positions of dL/dy|, the change of L per unit by which the whole
        map is raised (Sun et al. 2017, a pruning criterion in Yeom et al. 2021); its mean over
        samples.
    "input_channel": the same with y what the convolution reads, apart from its other readers.
    "weight": |w x dL/dw| (Molchanov et al. 2019, sec. 3, whose square ranks the same) or
        |dL/dw|, with L the mean over the samples, because autograd has no gradient of a weight
        for each sample: what samples say against each other cancels out.
    The sum over positions, so that all layers are on one scale, the change of L. Molchanov et al.
    write the mean, which ranks the same within a layer; over layers they divide by a layer's L2
    norm (`normalise_scores`), which is the same of sum and mean.

    Returns name -> float64 scores on the CPU, at least 0: [filter], [input channel], or in the
    weight's shape. The network computes in eval mode without autocast, and is left as it was.
    Raises ValueError for an unknown criterion, granularity or target, for no sample, for a name
    that is not of a convolution's weight, that L does not depend on, or that is grouped but scored
    by input channel; FloatingPointError, naming the layer, when a score is not finite.
    """
    if criterion not in ("gradient", "taylor"):
        raise ValueError(f"criterion must be one of gradient, taylor, got {criterion!r}")
    if granularity not in GRANULARITIES:
        raise ValueError(
            f"granularity must be one of {', '.join(GRANULARITIES)}, got {granularity!r}"
        )
    if target not in TARGETS:
        raise ValueError(f"target must be one of {', '.join(TARGETS)}, got {target!r}")
    taylor = criterion == "taylor"
    places = _places(network, granularity, names)
    totals: dict[str, Tensor] = {}
    n_samples = 0
    with _evaluating(network):
        for images, labels in batches:
            if granularity == "weight":
                sums = _by_weight(network, images, labels, taylor, names, target)
            else:
                sums = _by_gate(network, images, labels, taylor, places, target)
            n_samples += len(images)
            totals = {n: totals[n] + s for n, s in sums.items()} if totals else sums
    if n_samples == 0:
        raise ValueError(f"{criterion} scores need at least one sample, got none")
    scores = {name: (total / n_samples).abs().cpu() for name, total in totals.items()}
    for name, score in scores.items():
        if not torch.isfinite(score).all():
            raise FloatingPointError(
                f"{criterion} scores must be finite to be ranked, those of {name} are not"
            )
    return scores


def _places(
    network: nn.Module, granularity: str, names: Collection[str]
) -> dict[str, tuple[nn.Module, bool]]:
    """Name -> the module at which its groups are gated, and whether at its input."""
    follows = batchnorm_of(network)
    modules = dict(network.named_modules())
    places: dict[str, tuple[nn.Module, bool]] = {}
    for name in names:
        layer = name.removesuffix(".weight")
        convolution = modules.get(layer)
        if layer == name or not isinstance(convolution, nn.Conv2d):
            raise ValueError(f"only weights of convolutions can be scored, {name!r} is none")
        if granularity == "filter":
            places[name] = (modules[follows.get(layer, layer)], False)
        elif granularity == "input_channel" and convolution.groups > 1:
            raise ValueError(
                f"a convolution scored by input channel must have 1 group, {name} is of "
                f"{convolution.groups}"
            )
        else:
            places[name] = (convolution, True)
    return places


@contextmanager
def _evaluating(network: nn.Module) -> Iterator[None]:
    """Eval mode, so that no BatchNorm moves; gradients, but no autocast. Undone at the end."""
    modes = {module: module.training for module in network.modules()}
    network.eval()
    try:
        device = next(network.parameters()).device.type
        with torch.enable_grad(), torch.autocast(device, enabled=False):
            yield
    finally:
        for module, mode in modes.items():
            module.training = mode


def _by_weight(
    network: nn.Module,
    images: Tensor,
    labels: Tensor,
    taylor: bool,
    names: Collection[str],
    target: str,
) -> dict[str, Tensor]:
    """dL/dw or w x dL/dw, L summed over the samples; float64."""
    # Stand-ins for the parameters: frozen ones are scored, too, and no .grad is touched.
    weights = {n: network.get_parameter(n).detach().requires_grad_() for n in names}
    outputs = torch.func.functional_call(network, weights, (images,))
    derivatives = _derivatives(outputs, labels, weights, target)
    if not taylor:
        return {n: d.double() for n, d in derivatives.items()}
    return {n: d.double() * weights[n].detach() for n, d in derivatives.items()}


def _by_gate(
    network: nn.Module,
    images: Tensor,
    labels: Tensor,
    taylor: bool,
    places: Mapping[str, tuple[nn.Module, bool]],
    target: str,
) -> dict[str, Tensor]:
    """|dL/dgate|, summed over the samples; float64 [channel]."""
    gates: dict[str, Tensor] = {}

    def gated(name: str, values: Tensor) -> Tensor:
        # A copy, too: what later writes in place, a ReLU or a residual sum, writes elsewhere.
        if name not in gates:  # a module that runs twice has one gate
            gates[name] = values.new_full((*values.shape[:2], 1, 1), float(taylor)).requires_grad_()
        return values * gates[name] if taylor else values + gates[name]

    with ExitStack() as hooks:
        for name, (module, at_input) in places.items():
            if at_input:
                hook = module.register_forward_pre_hook(lambda _, x, n=name: gated(n, x[0]))
            else:
                hook = module.register_forward_hook(lambda _, x, y, n=name: gated(n, y))
            hooks.callback(hook.remove)
        outputs = network(images)
    gates_of = {name: gates.get(name) for name in places}
    derivatives = _derivatives(outputs, labels, gates_of, target)
    return {
        name: derivative.flatten(1).double().abs().sum(0)
        for name, derivative in derivatives.items()
    }


def _derivatives(
    outputs: Tensor, labels: Tensor, by: Mapping[str, Tensor | None], target: str
) -> dict[str, Tensor]:
    # Sums, so that a sample's derivative does not depend on how many others are in its batch.
    if target == "logit":
        loss = outputs.gather(1, labels[:, None]).sum()
    else:
        loss = F.cross_entropy(outputs, labels, reduction="sum")
    reached = [tensor for tensor in by.values() if tensor is not None]
    found = iter(torch.autograd.grad(loss, reached, allow_unused=True) if reached else ())
    derivatives = {n: None if tensor is None else next(found) for n, tensor in by.items()}
    missing = [n for n, d in derivatives.items() if d is None]
    if missing:
        raise ValueError(
            f"the loss in eval mode must depend on every layer that is scored by it, on "
            f"{', '.join(missing)} it does not: exclude them"
        )
    return {n: d for n, d in derivatives.items() if d is not None}
