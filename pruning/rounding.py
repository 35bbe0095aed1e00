"""Channel counts that hardware likes: multiples of 8, say, of what is left of each layer."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from pruning.liveness import live_sets
from pruning.prune import Groups, masks_of
from pruning.structure import Structure


def rounded_up(
    groups: Groups,
    importance: Mapping[str, Tensor],
    network: nn.Module,
    structure: Structure,
    multiple: int,
    *,
    within: Groups | None = None,
) -> Groups:
    """Keep more filters, so that of each layer of the compacted network a multiple of channels is
    left, or all that it ever had.

    Counted is what `compact` leaves: channels that are summed stay together, and of each part of a
    grouped convolution as many. The most important filters come back first; with a channel come the
    filters of all layers that are summed into it. So no layer is left with nothing.

    groups: of filters, as `choose_groups` gives them. importance: the higher comes back first.
    within: the decision of the round before; what was pruned there does not come back.
    """
    kept = {name: each.clone() for name, each in groups.items()}
    for name, each in kept.items():  # also one whose channels other layers keep alive in a sum
        allowed = torch.ones_like(each) if within is None else within[name]
        if not each.any() and allowed.any():
            each[importance[name].double().masked_fill(~allowed, -torch.inf).argmax()] = True
    steps = {f"{name}.weight": i for name, i in structure.layers.items() if i in structure.tied}
    sets = {name: structure.tied[steps[name]] for name in kept if name in steps}
    worth = _worth(sets, importance, within, len(structure.fixed))
    while True:
        live = live_sets(network, masks_of(network, kept, "filter", structure), structure)
        back = torch.zeros_like(live)
        for i in structure.layers.values():
            if i in structure.tied:
                _bring_back(structure.tied[i], live, back, worth, multiple)
        if not back.any():
            return kept
        for name, of in sets.items():
            mine = back[of] if within is None else back[of] & within[name]
            kept[name] |= mine
        worth[back] = -torch.inf  # each comes back once: a channel that nobody reads is not asked


def _worth(
    sets: Mapping[str, Tensor], importance: Mapping[str, Tensor], within: Groups | None, n: int
) -> Tensor:
    """float64 [set]: the highest importance of its filters; -inf where none can come back."""
    worth = torch.full((n,), -torch.inf, dtype=torch.float64)
    for name, of in sets.items():
        each = importance[name].double()
        if within is not None:
            each = each.masked_fill(~within[name], -torch.inf)
        worth.scatter_reduce_(0, of, each, "amax")
    return worth


def _bring_back(of: Tensor, live: Tensor, back: Tensor, worth: Tensor, multiple: int) -> None:
    """Mark in `back` what a layer lacks. of: the set of each of its channels."""
    n_live = int((live | back)[of].sum())
    lacking = min(-(-n_live // multiple) * multiple, len(of)) - n_live
    here = torch.unique(of)
    away = here[~(live | back)[here] & (worth[here] > -torch.inf)]
    if lacking > 0 and len(away):
        back[away[worth[away].argsort(descending=True, stable=True)[:lacking]]] = True
