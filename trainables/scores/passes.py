"""A network's pass over the probe images: what MIS ranks, and what other scores are fed on.

A pass over many images goes on where it was interrupted.
"""

import hashlib
from pathlib import Path
from typing import Any

import torch
from torch import nn

from mis import AboveZero, Extremes, ExtremesCollector, OfMaps, OfMeans, collect_extremes
from mis.score.collect import Watcher
from trainables.config import TrialConfig
from trainables.datasets.ahead import network_inputs
from trainables.datasets.images import ImageSet, Progress
from trainables.fields import identity
from trainables.memo import Memo
from trainables.networks import UnitLayer
from trainables.scores.rotated import read_through
from trainables.training.compute import autocast, resolve_precision
from trainables.workspace import require_space

VERSION = 3  # raise it when what is saved of a pass changes
_SAVED_EVERY = 20_000  # images of a pass, after which an interruption costs no more than the rest


class Pass:
    """One network's pass over the images of a trial.

    above: what units are above 0, for the scores beside MIS; None where there are none. Its file
    lies in the cache until `close`.
    """

    def __init__(
        self,
        network: nn.Module,
        config: TrialConfig,
        images: ImageSet,
        cache: Path,
        layers: list[UnitLayer],
        groups: torch.Tensor,
    ) -> None:
        self.network, self.config, self.images, self.layers = network, config, images, layers
        self._device = next(network.parameters()).device
        self._precision = resolve_precision(config.compute, self._device)
        # All that what is collected depends on: networks of other seeds rank ties otherwise.
        depends_on = [_fingerprint(network), images.digest, identity(config.score), config.seed]
        beside = config.beside
        if beside:
            depends_on += [[*config.scores], [*config.scores_code]]
        self._path = Memo(cache).path("pass", [VERSION, *depends_on, self._precision])
        self._sizes = [len(network.get_parameter(f"{at.layer}.weight")) for at in layers]
        self.above: AboveZero | None = None
        if beside:
            sizes = {at.name: n for at, n in zip(layers, self._sizes, strict=True)}
            path = None
            if any(isinstance(score, OfMeans) for score in beside):
                path = self._path.with_suffix(".means")
                path.parent.mkdir(parents=True, exist_ok=True)
                require_space(path.parent, 4 * len(images) * sum(sizes.values()))
            maps = [score for score in beside if isinstance(score, OfMaps)]
            self.above = AboveZero(sizes, groups, maps, path)

    def run(self, collector: ExtremesCollector, progress: Progress | None) -> Extremes:
        """The extremes of all images; what a pass over many of them has is saved on the way."""
        self.network.eval()
        self._collector = collector
        Memo.read(self._path, self._load)
        size, left = self.config.compute.eval_batch_size, collector.remaining()
        inputs = network_inputs(self.images, left, size, self._device)
        also: Watcher | None = self.above
        silenced = [layer.name for layer in self.layers if layer.silenced]
        with autocast(self._precision, self._device):
            extremes = collect_extremes(
                self.network,
                collector.layers,
                ((ids, x) for ids, x, _ in inputs),
                depth=collector.depth,
                priority=collector.priority,
                through=read_through(self.layers, self._sizes, self.config),
                # No ReLU reads what is rotated.
                before_relu=[] if self.config.score.rotated else silenced,
                collector=collector,
                also=also,
                progress=self._saving(progress),
            )
        self._path.unlink(missing_ok=True)
        return extremes

    def close(self) -> None:
        """Remove the file of means."""
        self._path.with_suffix(".means").unlink(missing_ok=True)

    def _saving(self, progress: Progress | None) -> Progress:
        saved_at = self._collector.n_images

        def after_batch(done: int, total: int) -> None:
            nonlocal saved_at
            if done - saved_at >= _SAVED_EVERY:
                Memo.write(self._path, self._state())
                saved_at = done
            if progress is not None:
                progress(done, total)

        return after_batch

    def _state(self) -> dict[str, Any]:
        state = self._collector.state_dict()
        return state if self.above is None else state | {"above": self.above.state_dict()}

    def _load(self, state: dict[str, Any]) -> None:
        above = {} if self.above is None else state.pop("above")
        if self.above is not None:
            self.above.require(above)
        self._collector.load_state_dict(state)
        if self.above is not None:
            self.above.load_state_dict(above)


def _fingerprint(network: nn.Module) -> str:
    """16 hex digits of the weights."""
    digest = hashlib.sha256()
    for tensor in network.state_dict().values():
        digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy())
    return digest.hexdigest()[:16]
