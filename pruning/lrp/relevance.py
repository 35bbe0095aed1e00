"""What did the decision rest on? Relevance (LRP) as a pruning criterion (Yeom et al. 2021)."""

from collections.abc import Collection, Iterable
from functools import partial

import torch
from torch import Tensor, nn

from pruning.granularity import granularity_of
from pruning.lrp.folded import Affine, AffineLayer, folded_copy
from pruning.lrp.known import require_known
from pruning.lrp.rules import LrpRules, RelevanceLayer, away_from_zero
from pruning.structure import Structure, structure_of


def require_rules(network: nn.Module, structure: Structure | None = None) -> None:
    """Raise ValueError if LRP has no rule for a module of `network` or for a function that its
    forward calls, if a module with weights is in two places, or if there is no convolution. Runs
    nothing."""
    require_known(network, structure or structure_of(network))
    if not any(isinstance(module, nn.Conv2d) for module in network.modules()):
        raise ValueError("a network must have a convolution to be pruned by relevance, it has none")


def lrp_importance(
    network: nn.Module,
    batches: Iterable[tuple[Tensor, Tensor]],
    granularity: str,
    names: Collection[str],
    rules: LrpRules,
    structure: Structure | None = None,
) -> dict[str, Tensor]:
    """The relevance of groups of convolutions and Linear layers.

    batches: normalised images, float [sample, 3, height, width], and labels, int64 [sample], on
        the network's device. How the samples are split into batches does not matter.
    names: of the weights. The logits in eval mode must depend on them: auxiliary heads are out.
        What `forward` does itself must be a ReLU, a pooling, a sum, a concatenation or a change of
        shape; where the trace does not follow it (`Structure.ends`) nobody can check that.
    structure: of the network; read anew where it is not at hand.

    "filter": the relevance of the outputs, after the BatchNorm that follows if nobody else reads
        them, summed over positions. For a Linear layer of its units.
    "input_channel": that of the inputs which arrives through this layer.
    "weight" and N:M: that which flows through the weight. Its sums are those of the other two,
        signed. There is one sum over samples and positions; "abs_sample" and "abs_element" both
        take its absolute, since autograd has no gradient of a weight for each sample.

    Returns name -> float64 importance on the CPU, [filter], [input channel] or in the weight's
    shape: sums over samples, signs treated as `rules` say, divided by the number of samples.
    The network computes as a copy, in eval mode, without autocast, and is left as it was.
    Raises ValueError as `require_rules` (but for the convolution), for an unknown granularity, for
    no name, for no sample, for a name that is not of a weight that can be asked for so, and for
    labels that are not of the logits; FloatingPointError, naming the layer, when a weight or a
    relevance is not finite, and when a logit is not.
    """
    structure = structure or structure_of(network)
    require_known(network, structure)
    groups = granularity_of(granularity)
    asked = "weight" if groups.is_single else groups.kind
    _require_names(network, names, asked)
    rules, book = rules.of(asked), _Book(rules.reduce)
    layers: list[AffineLayer] = []

    def layer(affine: Affine) -> AffineLayer:
        name = f"{affine.name}.weight"
        if name not in names:
            layers.append(RelevanceLayer(affine, rules))
        elif asked == "weight":
            layers.append(RelevanceLayer(affine, rules, asked, partial(book.add, name)))
        else:
            record = partial(book.add_values, name, affine.channel_dim)
            layers.append(RelevanceLayer(affine, rules, asked, record))
        return layers[-1]

    folded = folded_copy(network, layer, structure)
    n_samples = 0
    device = next(network.parameters()).device.type
    for images, labels in batches:
        for made in layers:
            made.runs = 0
        with torch.enable_grad(), torch.autocast(device, enabled=False):
            decision = _decision(folded(images.detach()), labels, rules.target)
            if decision.requires_grad:  # not when it depends on none of the names
                decision.backward()
        n_samples += len(images)
    if n_samples == 0:
        raise ValueError("relevance needs at least one sample, got none")
    return book.importance(names, n_samples)


def _require_names(network: nn.Module, names: Collection[str], granularity: str) -> None:
    modules = dict(network.named_modules())
    if not names:
        raise ValueError("there must be at least one weight to ask for, got no name")
    for name in names:
        layer = modules.get(name.removesuffix(".weight"))
        if not name.endswith("weight") or not isinstance(layer, (nn.Conv2d, nn.Linear)):
            raise ValueError(
                f"only weights of Conv2d and Linear layers can be asked for, {name!r} is none"
            )
        groups = layer.groups if isinstance(layer, nn.Conv2d) else 1
        if granularity == "input_channel" and groups > 1:
            raise ValueError(
                f"a convolution asked for by input channel must have 1 group, {name} is of {groups}"
            )


def _decision(logits: Tensor, labels: Tensor, target: str) -> Tensor:
    """A sum of ones, one for each sample's class: value x gradient is 1 there and 0 elsewhere."""
    if logits.dim() != 2 or labels.shape != logits.shape[:1]:
        raise ValueError(
            f"a network must give logits [sample, class] for labels [sample], got "
            f"{list(logits.shape)} for {list(labels.shape)}"
        )
    if not torch.isfinite(logits).all():
        raise FloatingPointError("logits must be finite to be explained, got NaN or inf")
    classes = labels if target == "label" else logits.argmax(1)
    low, high = (int(end) for end in torch.aminmax(classes))
    if low < 0 or high >= logits.shape[1]:
        raise ValueError(
            f"labels must lie in [0, {logits.shape[1]}), the classes of the network, got "
            f"{low if low < 0 else high}"
        )
    chosen = logits.gather(1, classes[:, None])
    return (chosen / away_from_zero(chosen.detach(), torch.finfo(chosen.dtype).tiny)).sum()


class _Book:
    """Sums of relevance a weight name, in float64, in the order in which layers were reached."""

    def __init__(self, reduce: str) -> None:
        self.reduce = reduce
        self.sums: dict[str, Tensor] = {}

    def add(self, name: str, amount: Tensor) -> None:
        self.sums[name] = self.sums.get(name, 0) + amount.double()

    def add_values(self, name: str, channel_dim: int, relevance: Tensor) -> None:
        """relevance: of values [sample, channel, ...] or [sample, ..., channel]."""
        channel_dim %= relevance.dim()
        positions = [d for d in range(1, relevance.dim()) if d != channel_dim]
        if self.reduce == "abs_element":
            relevance = relevance.abs()
        by_sample = relevance.sum(positions) if positions else relevance
        if self.reduce == "abs_sample":
            by_sample = by_sample.abs()
        self.add(name, by_sample.sum(0, dtype=torch.float64))

    def importance(self, names: Collection[str], n_samples: int) -> dict[str, Tensor]:
        means = {name: (total / n_samples).cpu() for name, total in self.sums.items()}
        missing = [name for name in names if name not in means]
        if missing:
            raise ValueError(
                f"the logits in eval mode must depend on every layer that is asked for, "
                f"on {', '.join(missing)} they do not: exclude them"
            )
        for name, mean in means.items():  # from the logits down: the first is where it began
            if not torch.isfinite(mean).all():
                raise FloatingPointError(
                    f"relevance must be finite to be ranked, that of {name} is not"
                )
        return {
            name: means[name] if self.reduce == "signed" else means[name].abs() for name in names
        }
