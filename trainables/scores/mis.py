"""One network's MIS: a pass over the probe images, tasks, scores, and how sure they are."""

from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mis import (
    PROTOCOLS,
    UNIT_STATES,
    Extremes,
    ExtremesCollector,
    Margins,
    Tasks,
    UnitScores,
    build_tasks,
    can_leave_out,
    deeper,
    draw_groups,
    images_needed,
    query_rank,
    replicate_mis,
    unit_scores,
    unit_states,
)
from pruning import Structure, structure_of
from trainables.config import ScoreConfig, TrialConfig
from trainables.datasets.images import Data, ImageSet, Progress
from trainables.fields import identity
from trainables.memo import Memo
from trainables.networks import UnitLayer, unit_layers, unread_units, zero_filters
from trainables.randomness import generator
from trainables.scores.beside import Beside, score_beside
from trainables.scores.embeddings import VERSION as EMBEDDINGS_VERSION
from trainables.scores.embeddings import ProbeVectors, probe_vectors
from trainables.scores.passes import VERSION as PASS_VERSION
from trainables.scores.passes import Pass
from trainables.scores.shown import first_images
from trainables.training.compute import place, resolve_device, resolve_precision
from trainables.training.dense import dense_key, load_dense

_ALIVE, _DEAD = UNIT_STATES.index("alive"), UNIT_STATES.index("dead")


@dataclass(frozen=True)
class Measured:
    """What a network scores, unit by unit, and the images it was asked about.

    replicates: float64 [2, group, unit], see `mis.replicate_mis`; None for too few images.
    shown: of each unit the first task, for pictures. top, bottom: see `shown.Shown`; of files of
    earlier versions empty.
    """

    layers: tuple[str, ...]
    layer_of: Tensor  # int64 [unit]
    channel: Tensor  # int64 [unit]
    state: Tensor  # int8 [unit]
    mis: Tensor  # float [unit], NaN for constant and dead units
    task_accuracy: Tensor
    mis_pixels: Tensor  # the same tasks with raw pixels as similarity
    minimum: Tensor  # float32 [unit], of the spatial mean over the images
    maximum: Tensor
    counted: Tensor  # bool [unit], whether the unit's layer is part of the network's mean
    replicates: Tensor | None
    shown: Tasks
    beside: Beside = field(default_factory=Beside)  # what other scores give, on the same pass
    top: Tensor = field(default_factory=lambda: torch.zeros(0, 0, dtype=torch.int32))
    bottom: Tensor = field(default_factory=lambda: torch.zeros(0, 0, dtype=torch.int32))

    @property
    def scores(self) -> UnitScores:
        return UnitScores(self.layers, self.layer_of, self.mis, self.task_accuracy, self.state)


def depth_of(score: ScoreConfig, n_images: int) -> int:
    """The ranks that the tasks of `score` need at both ends of so many images.

    Raises ValueError when there are too few images.
    """
    rank = query_rank(score.protocol, n_images, score.n_tasks, score.n_explanations)
    needed = images_needed(score.n_tasks, score.n_explanations, rank)
    if n_images < needed:
        raise ValueError(
            f"MIS with {score.n_tasks} tasks of {score.n_explanations} explanations and 1 query "
            f"on each side needs at least {needed} probe images, there are {n_images}; "
            "take more images, or fewer tasks: SET=score.n_tasks=…"
        )
    return needed // 2


def measure(
    network: nn.Module,
    config: TrialConfig,
    data: Data,
    cache: Path,
    structure: Structure | None = None,
    progress: Progress | None = None,
) -> Measured:
    """The MIS of every unit of `network` on the probe images of `config`.

    structure: of the network; read anew where it is not at hand.

    Networks of one seed share ranks of ties, deals of tasks and groups of images, so that they can
    be compared unit by unit. A pass over many images goes on where it was interrupted.
    Raises ValueError for too few images, FloatingPointError for activations that are not finite.
    """
    score, n_images = config.score, len(data.probe)
    depth, draw = depth_of(score, n_images), generator(config.seed, "tasks")
    rank = query_rank(score.protocol, n_images, score.n_tasks, score.n_explanations)
    structure = structure or structure_of(network)
    layers = unit_layers(network, score.read_at, structure)
    priority = _priority(score.protocol, data.probe, draw)
    names = [layer.name for layer in layers]
    collector = ExtremesCollector(names, deeper(depth, n_images), priority)
    groups = draw_groups(n_images, generator=generator(config.seed, "groups"))
    one_pass = Pass(network, config, data.probe, cache, layers, groups)
    extremes = one_pass.run(collector, progress)
    k, n_tasks = score.n_explanations, score.n_tasks
    tasks = build_tasks(
        extremes.top, extremes.bottom, n_tasks=n_tasks, k=k, generator=draw, query_rank=rank
    )
    perceptual = _vectors(data.probe, score, cache, config)
    state = _states(network, layers, extremes, config, structure)
    scores, margins = _scores(extremes, tasks, perceptual, state)
    pixels = _vectors(data.probe, score.by_pixels, cache, config)
    by_pixels, _ = _scores(extremes, tasks, pixels, state)
    replicates = None
    if can_leave_out(depth, n_images):
        replicates = replicate_mis(
            extremes,
            margins,
            groups,
            slope=perceptual.slope,
            n_tasks=n_tasks,
            k=k,
            generator=generator(config.seed, "replicates"),
            query_rank=rank,
        )
    counted = _counted(scores, score.protocol)
    measured = Measured(
        layers=tuple(layer.title for layer in layers),
        state=scores.state,
        mis=scores.mis,
        task_accuracy=scores.task_accuracy,
        mis_pixels=by_pixels.mis,
        counted=counted,
        replicates=replicates,
        shown=_first_task(tasks),
        beside=score_beside(config, data.probe, one_pass.above, perceptual, state, counted, groups),
        **_of_images(extremes),
    )
    one_pass.close()
    return measured


def measure_dense(
    config: TrialConfig, data: Data, cache: Path, progress: Progress | None = None
) -> Measured:
    """The same of the dense network that `config` starts from; computed once, then shared."""
    device = resolve_device(config.compute)
    depends_on = {
        "versions": [PASS_VERSION, EMBEDDINGS_VERSION],
        "network": dense_key(config, data),
        "probe": data.probe.digest,
        "score": identity(config.score),
        "seed": config.seed,
        "precision": resolve_precision(config.compute, device),
    }
    if config.beside:
        depends_on["scores"] = [[*config.scores], [*config.scores_code]]

    def compute() -> Measured:
        network = place(load_dense(config, data, cache), device)
        return measure(network, config, data, cache, progress=progress)

    return Memo(cache).of("dense-mis", depends_on, compute, pack=_packed, unpack=_unpacked)


def _packed(measured: Measured) -> dict[str, Any]:
    saved = {item.name: getattr(measured, item.name) for item in fields(measured)}
    saved |= {"layers": list(measured.layers), "shown": vars(measured.shown)}
    return saved | {"beside": vars(measured.beside)}


def _unpacked(saved: dict[str, Any]) -> Measured:
    beside = Beside(**saved.get("beside", {}))  # there was none in files of earlier versions
    made = {"layers": tuple(saved["layers"]), "shown": Tasks(**saved["shown"]), "beside": beside}
    return Measured(**saved | made)


def _vectors(
    images: ImageSet, score: ScoreConfig, cache: Path, config: TrialConfig
) -> ProbeVectors:
    return probe_vectors(images, score, cache, resolve_device(config.compute))


def _scores(
    extremes: Extremes, tasks: Tasks, space: ProbeVectors, state: Tensor
) -> tuple[UnitScores, Margins]:
    # Asked once for the scores and twenty times for their error.
    margins = Margins(space.vectors, metric=space.metric, n_reads=21 * tasks.plus.numel())
    return unit_scores(extremes, tasks, margins, slope=space.slope, state=state), margins


def _priority(protocol: str, images: ImageSet, draw: torch.Generator) -> Tensor:
    """int64 [image]: of equal activations the higher ranks as more activating."""
    # Drawn in any case, so that what is drawn next does not depend on the protocol.
    random = torch.randperm(len(images), generator=draw)
    if PROTOCOLS[protocol].ties == "random":
        return random
    return images.labels.argsort(stable=True).argsort()  # a folder's files are sorted by class


def _states(
    network: nn.Module,
    layers: list[UnitLayer],
    extremes: Extremes,
    config: TrialConfig,
    structure: Structure,
) -> Tensor:
    """int8 [unit]: which units have a score, and which of these count."""
    if config.score.rotated:  # no filter and no reader is of one unit
        return unit_states(extremes)
    protocol = config.score.protocol
    if PROTOCOLS[protocol].left_out == "zero_filters":
        zero = torch.cat(list(zero_filters(network, layers).values()))
        return torch.where(zero, _DEAD, _ALIVE).to(torch.int8).cpu()
    unread = torch.cat(list(unread_units(network, layers, structure).values()))
    return unit_states(extremes, unread=unread)


def _counted(scores: UnitScores, protocol: str) -> Tensor:
    """bool [unit]: whether the protocol's mean over the network includes the unit's layer."""
    if PROTOCOLS[protocol].counted == "all":
        return torch.ones(len(scores.mis), dtype=torch.bool)
    return (scores.layer_of > 0) & (scores.layer_of < len(scores.layers) - 1)


def _of_images(extremes: Extremes) -> dict[str, Any]:
    """What `Measured` keeps of which images activate units, and how much."""
    kept = {n: getattr(extremes, n) for n in ("layer_of", "channel", "minimum", "maximum")}
    return kept | {name: first_images(getattr(extremes, name)) for name in ("top", "bottom")}


def _first_task(tasks: Tasks) -> Tasks:
    return Tasks(**{name: images[:, :1].clone() for name, images in vars(tasks).items()})
