"""A network and its masks: what is pruned, what of it is gone for good, and what must be held."""

from collections.abc import Mapping
from functools import cached_property

import torch
from torch import Generator, Tensor, nn

from pruning import (
    Held,
    KeepMask,
    Kept,
    Structure,
    choose_by_chance,
    choose_keep,
    compact,
    compact_keep,
    copy_back,
    granularity_of,
    kept_entries,
    kept_numbers,
    structure_of,
)
from trainables.config import PruneConfig


class PrunedNetwork:
    """The network of a trial; with `config` None it is dense and stays so.

    network: keeps its full shape, so that its state_dict loads anywhere; changed in place.
    """

    def __init__(self, network: nn.Module, config: PruneConfig | None) -> None:
        self.network, self.config = network, config
        self.keep: KeepMask | None = None
        self.held: Held | None = None
        self.kept: Kept | None = None  # what is left where filters are gone for good

    @cached_property
    def structure(self) -> Structure:
        """Read once, and not at all for a network that stays dense."""
        return structure_of(self.network)

    def choose(self, importance: Mapping[str, Tensor], rate: float) -> None:
        """Choose the masks of the next round by the importance of all groups; applies nothing."""
        prune = self._prunes()
        self.keep = choose_keep(
            self.network,
            rate,
            importance,
            granularity=prune.granularity,
            scope=prune.scope,
            exclude=prune.exclude,
            within=self.keep,
            most_important_first=prune.most_important_first,
            batchnorm_follows=prune.batchnorm_follows,
            structure=self.structure,
        )

    def choose_by_chance(self, numbers: Mapping[str, int], generator: Generator) -> None:
        """Choose the masks of the next round: so many groups of each layer, which by chance."""
        prune = self._prunes()
        self.keep = choose_by_chance(
            self.network,
            numbers,
            generator,
            granularity=prune.granularity,
            within=self.keep,
            batchnorm_follows=prune.batchnorm_follows,
            structure=self.structure,
        )

    def _prunes(self) -> PruneConfig:
        if self.config is None:
            raise ValueError("a dense network has no masks to choose: config is None")
        return self.config

    def restore(self, keep: object) -> None:
        """Take the masks of a state and hold them.

        Raises ValueError unless these are bool masks of parameters of the network.
        """
        parameters = dict(self.network.named_parameters())
        if self.config is None or not isinstance(keep, dict):
            raise ValueError("the state has masks that the trial has not")
        for name, mask in keep.items():
            fits = name in parameters and isinstance(mask, Tensor)
            if not fits or mask.dtype != torch.bool or mask.shape != parameters[name].shape:
                raise ValueError(f"the mask of {name} in the state does not fit the network")
        self.keep = {name: mask.to(parameters[name].device) for name, mask in keep.items()}
        self.hold()

    def numbers(self) -> dict[str, tuple[int, int]]:
        """Name of a weight -> how many of its groups the masks keep, and how many there are."""
        if self.keep is None or self.config is None:
            return {}
        granularity, exclude = self.config.granularity, self.config.exclude
        return kept_numbers(self.network, self.keep, granularity, exclude)

    def hold(self) -> None:
        """Apply the masks; note what is left where a smaller network does the same."""
        if self.keep is None or self.config is None:
            return
        self.held = Held(self.network, self.keep)
        self.held.apply()
        self.kept = None
        # Single weights hardly ever empty a filter: there is nothing to gain.
        if self.config.held and not granularity_of(self.config.granularity).is_single:
            self.kept = kept_entries(self.network, self.keep, self.structure)

    def without_removed(self) -> nn.Module:
        """A smaller network of the same outputs where filters are gone, else the network itself."""
        return self.network if self.kept is None else compact(self.network, self.kept)

    def compacted(self) -> tuple[nn.Module, Kept | None]:
        """The smallest network of the same outputs, and what of each parameter it is made of.

        None where nothing is pruned, or what was pruned grew back: then it is the network itself.
        """
        if self.keep is None or self.config is None or not self.config.held:
            return self.network, None
        kept = self.kept or kept_entries(self.network, self.keep, self.structure)
        return compact(self.network, kept), kept

    def to_hold(self, trained: nn.Module) -> Held | None:
        """What must be held in `trained`, which `without_removed` gave; None: nothing."""
        if self.keep is None or self.config is None or not self.config.held:
            return None
        if self.kept is None:
            return self.held
        # What is removed need not be held: the network that is trained has not got it.
        left = compact_keep(self.keep, self.kept)
        return Held(trained, left) if left else None

    def take_back(self, trained: nn.Module) -> None:
        """Write what `trained` has become into the network of full shape."""
        if self.kept is not None:
            copy_back(trained, self.network, self.kept)

    def require_held(self) -> None:
        """Raise RuntimeError unless every pruned weight is exactly zero."""
        if self.held is None or self.config is None or not self.config.held:
            return
        revived = self.held.revived()
        if revived:
            raise RuntimeError(
                f"pruned weights must stay exactly zero, those of {len(revived)} parameters do "
                f"not: {', '.join(revived[:3])}"
            )
