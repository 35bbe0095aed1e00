"""A network that somebody else pruned: zeros in it, or fewer channels, told by the shapes alone."""

from functools import lru_cache
from pathlib import Path

from torch import nn

from pruning import Survivors
from trainables.config import GivenConfig, NetworkConfig
from trainables.networks.checkpoints import checkpoint_state, file_digest, load_fitting
from trainables.networks.heads import fitted
from trainables.networks.outline import outline_with, require_logits
from trainables.networks.shapes import left_by_shapes, with_shapes


def given_network(
    network: nn.Module, config: NetworkConfig, given: GivenConfig
) -> tuple[nn.Module, Survivors | None]:
    """The network with the weights in the file, on its device, in evaluation mode.

    network: as `build_network` makes it of `config`. Also given is, where channels are gone, how
    many of each parameter are left: `compact` makes the same shapes of it, but which channels these
    were the file does not say. None where all shapes are the network's.
    Raises ValueError, in one sentence, for a file that holds no such network.
    """
    path = Path(given.path)
    if given.digest and file_digest(path) != given.digest:
        raise ValueError(
            f"the network must stay as it was when it was planned, {path} has changed; plan it anew"
        )
    # A head is kept in part where the data has fewer classes: as of the dense network.
    state = fitted(
        network, config, checkpoint_state(network, path, given.entry, field="given.entry")
    )
    left = left_by_shapes(network, state, path)
    smaller = with_shapes(network, left)
    load_fitting(smaller, state, path)
    return smaller.eval(), left


@lru_cache(16)
def given_said(config: NetworkConfig, given: GivenConfig, n_classes: int, pixels: int) -> str:
    """What is in the file, for people, and what can be said of it.

    Raises ValueError, in one sentence, for one that `given_network` refuses, and where images of so
    many pixels do not go through its network.
    """
    empty = outline_with(config.untrained, n_classes).to_empty(device="cpu")
    network, left = given_network(empty, config, given)
    parameters = list(network.parameters())
    zero = sum(int((p == 0).sum()) for p in parameters) / sum(p.numel() for p in parameters)
    if left is None:
        return (
            f"{given.path}: {zero:.1%} of the parameters are zero, all shapes are those of "
            f"{config.name}: its units are compared with the same units of the dense network"
        )
    try:
        require_logits(network, config.name, n_classes, pixels, heads=config.aux_heads)
    except ValueError as error:
        raise ValueError(
            f"{given.path} must hold a network that computes: of {config.name} channels are "
            f"missing in some layers, and others do not go with them ({error})"
        ) from error
    layers = [name for name, indices in left.items() if len(indices) > 1]
    return (
        f"{given.path}: of {len(layers)} layers of {config.name} channels are gone, and which ones "
        "the file does not say: changes of MIS are of the means of network and layers, not of the "
        "same units, so that what was selected counts as change"
    )
