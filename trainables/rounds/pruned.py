"""A network and its masks: what is pruned, what of it is gone for good, and what must be held."""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn

from pruning import (
    Groups,
    Held,
    KeepMask,
    NeedsExclusion,
    Sparsity,
    Structure,
    Survivors,
    compact,
    compact_keep,
    copy_back,
    groups_of,
    kept_numbers,
    masks_of,
    measure_sparsity,
    prunable_weights,
    require_importance,
    require_rate,
    structure_of,
    survivors_of,
)
from trainables.config import PruneConfig, TrialConfig
from trainables.config.amount import rates_of_layers
from trainables.networks import given_network


@dataclass(frozen=True)
class Masks:
    """What is pruned of a network. survivors: what is left where filters are gone for good."""

    groups: Groups
    keep: KeepMask
    held: Held
    survivors: Survivors | None


class PrunedNetwork:
    """The network of a trial, which is dense until masks are held.

    network: keeps its full shape, so that its state_dict loads anywhere; changed in place.
    prune: how it is pruned; None: not at all. whole: the dense network, where this one came with
    fewer channels; then `left` says how many of each parameter.
    """

    def __init__(
        self,
        network: nn.Module,
        prune: PruneConfig | None,
        structure: Structure | None = None,
        left: Survivors | None = None,
        whole: nn.Module | None = None,
    ) -> None:
        self.network, self.prune, self.left, self.whole = network, prune, left, whole
        if structure is not None:
            self.structure = structure
        self.masks: Masks | None = None

    @cached_property
    def structure(self) -> Structure:
        """Read once."""
        return structure_of(self.network)

    @cached_property
    def weights(self) -> dict[str, Tensor]:
        """Name -> parameter of all that competes; of a network that stays dense what would."""
        prune = self.prune or PruneConfig()
        return prunable_weights(
            self.network,
            prune.exclude,
            granularity=prune.granularity,
            layers=prune.layers,
            biases=prune.biases,
            structure=self.structure,
        )

    def rates_of_layers(self) -> dict[str, float]:
        """Name of a weight -> the rate that `prune.rates` gives its layer.

        Raises ValueError, in one sentence, for a name in it that fits no layer.
        """
        prune = self._prunes()
        layers = dict.fromkeys(name.rpartition(".")[0] for name in self.weights)
        rates = rates_of_layers(prune.rates, prune.rates_factor, layers)
        return {name: rates[name.rpartition(".")[0]] for name in self.weights}

    @property
    def reached(self) -> dict[str, float]:
        """prune/rate, the fraction of all groups that are pruned, where that was not asked for."""
        prune = self.prune
        if self.masks is None or prune is None or (prune.rate is not None and prune.round_to == 1):
            return {}
        numbers = self.numbers().values()
        return {"prune/rate": 1 - sum(kept for kept, _ in numbers) / sum(n for _, n in numbers)}

    def measure_sparsity(self) -> Sparsity:
        """What of it is zero, or is gone."""
        gone = (0, 0)
        if self.whole is not None:
            own, dense = (_sizes(PrunedNetwork(n, None)) for n in (self.network, self.whole))
            gone = (dense[0] - own[0], dense[1] - own[1])
        return measure_sparsity(self.network, self.weights, gone)

    def amounts(self) -> dict[str, float]:
        """The same by metric name, and what was reached of what was asked."""
        sparsity = self.measure_sparsity()
        return {
            "prune/sparsity": sparsity.prunable,
            "prune/sparsity_network": sparsity.network,
            "prune/n_zero": float(sparsity.n_zero),
            "prune/n_prunable": float(sparsity.n_prunable),
            "prune/n_collapsed": float(len(sparsity.collapsed)),
            **self.reached,
        }

    @property
    def groups(self) -> Groups | None:
        """Which groups of its weights are kept; None while it is dense."""
        return None if self.masks is None else self.masks.groups

    @property
    def keep(self) -> KeepMask | None:
        """The masks, as a state has them; None while it is dense."""
        return None if self.masks is None else self.masks.keep

    def numbers(self) -> dict[str, tuple[int, int]]:
        """Name of a weight -> how many of its groups are kept, and how many there are."""
        return {} if self.masks is None else kept_numbers(self.masks.groups)

    def hold(self, groups: Groups) -> None:
        """Set to zero what was decided to go, and what follows it."""
        prune = self._prunes()
        follows = self.structure if prune.batchnorm_follows else None
        keep = masks_of(self.network, groups, prune.granularity, follows)
        if prune.biases:  # that of a filter without a weight goes with it: so a state is read, too
            groups = groups_of(keep, self.weights, prune.granularity)
        self._hold(groups, keep)

    def restore(self, keep: object) -> None:
        """Hold the masks of a state.

        Raises ValueError unless these are bool masks of parameters of the network.
        """
        parameters = dict(self.network.named_parameters())
        if self.prune is None or not isinstance(keep, dict):
            raise ValueError("the state has masks that the trial has not")
        for name, mask in keep.items():
            fits = name in parameters and isinstance(mask, Tensor)
            if not fits or mask.dtype != torch.bool or mask.shape != parameters[name].shape:
                raise ValueError(f"the mask of {name} in the state does not fit the network")
        if missing := [name for name in self.weights if name not in keep]:
            raise ValueError(f"the state must have masks of all that is pruned, not {missing[0]}")
        masks = {name: mask.to(parameters[name].device) for name, mask in keep.items()}
        self._hold(groups_of(masks, self.weights, self.prune.granularity), masks)

    def _hold(self, groups: Groups, keep: KeepMask) -> None:
        prune, survivors = self._prunes(), None
        # Single weights hardly ever empty a filter: there is nothing to gain.
        if prune.held and prune.granularity in ("filter", "input_channel"):
            survivors = survivors_of(self.network, keep, self.structure)
        self.masks = Masks(groups, keep, Held(self.network, keep), survivors)
        self.masks.held.apply()

    def _prunes(self) -> PruneConfig:
        if self.prune is None:
            raise ValueError("a dense network has nothing to hold: prune is None")
        return self.prune

    @property
    def _is_held(self) -> bool:
        """False where nothing is pruned, or what was pruned may grow back."""
        return self.masks is not None and self._prunes().held

    def without_removed(self) -> nn.Module:
        """A smaller network of the same outputs where filters are gone, else the network itself."""
        if self.masks is None or self.masks.survivors is None:
            return self.network
        return compact(self.network, self.masks.survivors)

    def compacted(self) -> tuple[nn.Module, Survivors | None]:
        """The smallest network of the same outputs, and what of each parameter it is made of.

        None where nothing is pruned, or what was pruned grew back: then it is the network itself.
        """
        if self.masks is None or not self._is_held:
            return self.network, self.left
        survivors = self.masks.survivors or survivors_of(
            self.network, self.masks.keep, self.structure
        )
        return compact(self.network, survivors), survivors

    def to_hold(self, trained: nn.Module) -> Held | None:
        """What must be held in `trained`, which `without_removed` gave; None: nothing."""
        if self.masks is None or not self._is_held:
            return None
        if self.masks.survivors is None:
            return self.masks.held
        # What is removed need not be held: the network that is trained has not got it.
        left = compact_keep(self.masks.keep, self.masks.survivors)
        return Held(trained, left) if left else None

    def take_back(self, trained: nn.Module) -> None:
        """Write what `trained` has become into the network of full shape."""
        if self.masks is not None and self.masks.survivors is not None:
            copy_back(trained, self.network, self.masks.survivors)

    def require_held(self) -> None:
        """Raise RuntimeError unless every pruned weight is exactly zero."""
        if self.masks is None or not self._is_held:
            return
        revived = self.masks.held.revived()
        if revived:
            raise RuntimeError(
                f"pruned weights must stay exactly zero, those of {len(revived)} parameters do "
                f"not: {', '.join(revived[:3])}"
            )


def begun(dense: nn.Module, config: TrialConfig) -> PrunedNetwork:
    """What a trial begins with: its dense network, or the one that is given in its place.

    Raises ValueError as `given_network`.
    """
    if config.given is None:
        return PrunedNetwork(dense, config.prune)
    network, left = given_network(dense, config.network, config.given)
    return PrunedNetwork(network, None, left=left, whole=None if left is None else dense)


def _sizes(pruned: PrunedNetwork) -> tuple[int, int]:
    """How many weights may be pruned, and how many parameters there are."""
    n_prunable = sum(weight.numel() for weight in pruned.weights.values())
    return n_prunable, sum(p.numel() for p in pruned.network.parameters())


def require_prunable(pruned: PrunedNetwork) -> None:
    """Raise ValueError, in one sentence, where the network cannot be pruned as its config says: a
    rate, blocks of N:M, layers that the criterion cannot speak of. Computes nothing."""
    prune = pruned.prune
    if prune is None:
        return
    weights, granularity = pruned.weights, prune.granularity
    try:
        if prune.rate is not None:
            require_rate(weights, prune.rate, granularity=granularity, scope=prune.scope)
        if prune.rates and not isinstance(prune.rates, str):
            pruned.rates_of_layers()
        widest = max(len(weight) for weight in weights.values())
        if prune.round_to > 1 and prune.round_to >= widest:
            raise ValueError(
                f"prune.round_to must be below the {widest} filters of the widest layer, or all "
                f"stays, got {prune.round_to}"
            )
        require_importance(pruned.network, prune.by, granularity, list(weights), pruned.structure)
    except NeedsExclusion as error:
        names = (*prune.exclude, *error.layers)
        raise ValueError(f'{error}, SET="prune.exclude={names!r}"') from error
