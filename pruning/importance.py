"""From a criterion to the importance of every group: the one door to all criteria."""

from collections.abc import Mapping, Sequence

from torch import Generator, Tensor, nn

from pruning.criteria import CRITERIA, NORMS, Batches, Criterion, Subject, criterion_class
from pruning.granularity import granularity_of
from pruning.prunable import prunable_weights
from pruning.structure import Structure, structure_of


def importance_of_groups(
    network: nn.Module,
    criterion: Criterion | str,
    granularity: str,
    *,
    generator: Generator | None = None,
    names: Sequence[str] | None = None,
    batches: Batches | None = None,
    structure: Structure | None = None,
) -> dict[str, Tensor]:
    """The importance of every group of the prunable weights; the higher is kept. Changes nothing.

    criterion: with its settings, or the name of one in `CRITERIA`, with none.
    generator: a CPU generator, for a criterion that draws. batches: for one that looks at images.
    names: of the weights whose groups are asked for; None: all that `prunable_weights` gives.
    structure: of the network; read anew where it is not at hand.

    Returns parameter name -> importance per group on the CPU: [filter], [input channel], or in the
    weight's shape; float64, but for single weights by their magnitude, which is exact in the
    weight's own type.
    Raises ValueError as `require_importance` does, for missing batches, and as the criteria do.
    """
    by = criterion_class(criterion)() if isinstance(criterion, str) else criterion
    if by.looks_at_images and batches is None:
        need_none = [name for name, other in CRITERIA.items() if not other.looks_at_images]
        raise ValueError(
            f"the criterion {by.name!r} looks at images: batches must be given, got None; "
            f"{', '.join(need_none)} need none"
        )
    subject = _subject(network, granularity, names, structure, batches or (), generator)
    by.require_granularity(subject.granularity)
    return by.importance(subject)


def require_importance(
    network: nn.Module,
    criterion: Criterion,
    granularity: str,
    names: Sequence[str] | None = None,
    structure: Structure | None = None,
) -> None:
    """Raise ValueError for a granularity that the criterion does not know, and, by its name, for a
    layer of which it cannot speak. Computes nothing."""
    subject = _subject(network, granularity, names, structure)
    criterion.require_granularity(subject.granularity)
    criterion.require(subject)


def _subject(
    network: nn.Module,
    granularity: str,
    names: Sequence[str] | None,
    structure: Structure | None,
    batches: Batches = (),
    generator: Generator | None = None,
) -> Subject:
    structure = structure or structure_of(network)
    if names is None:
        names = list(prunable_weights(network, granularity=granularity, structure=structure))
    return Subject(network, structure, granularity_of(granularity), names, batches, generator)


def normalised(importance: Mapping[str, Tensor], norm: str) -> dict[str, Tensor]:
    """The importance of each layer divided by its norm, so that a global ranking compares layers.

    norm: "l1" (Yeom et al. 2021), "l2" (Molchanov et al. 2017) or "none". A layer whose groups
    have no importance at all stays as it is. Raises ValueError for another name.
    """
    if norm not in NORMS:
        raise ValueError(f"normalise must be one of {', '.join(NORMS)}, got {norm!r}")
    order = NORMS[norm]
    if order is None:
        return dict(importance)
    norms = {name: each.double().norm(p=order) for name, each in importance.items()}
    return {
        name: each / norms[name] if norms[name] > 0 else each for name, each in importance.items()
    }
