"""The layers of a network that tell its classes: replaced, narrowed, or trained apart."""

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor, nn

from pruning import structure_of, what_is_lost
from trainables.config import NetworkConfig
from trainables.networks.checkpoints import load_fitting


def output_layers(network: nn.Module) -> tuple[list[str], list[str]]:
    """Names of the layers whose channels are classes: of the network's own output, and of its
    auxiliary heads.

    Raises ValueError where none can be found.
    """
    structure = structure_of(network)
    own = sorted(structure.outputs - structure.heads)
    if not own:
        lost = what_is_lost(structure)
        raise ValueError(
            "a network must end with a convolution or a Linear layer, as can be seen from its "
            f"forward pass, for another head: {lost or 'this one does not'}"
        )
    return own, sorted(structure.outputs & structure.heads)


def auxiliary_layers(network: nn.Module) -> set[str]:
    """Names of the layers and BatchNorms that are of auxiliary heads alone."""
    structure = structure_of(network)
    norms = {structure.norm_of[name] for name in structure.heads if name in structure.norm_of}
    return {*structure.heads, *norms}


def head_parameters(network: nn.Module) -> set[str]:
    """Names of the parameters of a new head: of the layers that tell classes, and of all that is of
    auxiliary heads alone, which may have no weights that were given.

    Raises ValueError as `output_layers`.
    """
    layers = {*output_layers(network)[0], *auxiliary_layers(network)}
    return {name for name, _ in network.named_parameters() if name.rpartition(".")[0] in layers}


def with_weights(
    network: nn.Module, config: NetworkConfig, given: Mapping[str, Tensor], source: Path | str
) -> nn.Module:
    """The network with weights that are given, changed in place.

    given: a state_dict, whose head is replaced by the network's own, as it was drawn, with
    network.head="new"; with "kept" it is narrowed to the classes that are kept.
    Raises ValueError where they are of another network. source: for people, where they come from.
    """
    state = fitted(network, config, given)
    load_fitting(network, state, Path(source))
    return network


def fitted(
    network: nn.Module, config: NetworkConfig, given: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """What is loaded of weights that are given: see `with_weights`."""
    state = dict(given)
    if config.head is None:
        return state
    own = network.state_dict()
    for layer in sum(output_layers(network), []):
        for name in (f"{layer}.weight", f"{layer}.bias"):
            if config.head == "kept" and name in state:
                state[name] = state[name][list(config.kept_classes)]
            elif name in own:
                state[name] = own[name]
            else:
                state.pop(name, None)
    return state
