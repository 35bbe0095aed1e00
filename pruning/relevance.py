"""What did the decision rest on? Relevance (LRP) as a pruning criterion (Yeom et al. 2021)."""

from collections.abc import Collection, Iterable
from functools import partial

import torch
from torch import Tensor, nn

from pruning.folded import Affine, AffineLayer, folded_copy, require_foldable
from pruning.granularity import GRANULARITIES
from pruning.rules import LrpRules, RelevanceLayer, away_from_zero


def require_rules(network: nn.Module) -> None:
    """Raise ValueError if LRP has no rule for a module of `network`, if a module with weights is
    in two places, or if there is no convolution. Runs nothing."""
    require_foldable(network)
    if not any(isinstance(module, nn.Conv2d) for module in network.modules()):
        raise ValueError("a network must have a convolution to be pruned by relevance, it has none")


def lrp_scores(
    network: nn.Module,
    batches: Iterable[tuple[Tensor, Tensor]],
    granularity: str,
    names: Collection[str],
    rules: LrpRules,
) -> dict[str, Tensor]:
    """Score the groups of convolutions (or of Linear layers) by relevance.

    batches: normalised images, float [sample, 3, height, width], and labels, int64 [sample], on
        the network's device. How the samples are split into batches does not matter.
    names: of the weights to score. The logits in eval mode must depend on them: auxiliary heads
        are out. What `forward` does itself must be a ReLU, a pooling, a sum, a concatenation or a
        change of shape: of functions nobody can check that they have a rule.

    "filter": the relevance of the outputs, after the BatchNorm that follows, summed over
        positions. For a Linear layer of its units.
    "input_channel": that of the inputs which arrives through this layer.
    "weight": that which flows through the weight. Its sums are the signed scores of the other
        two. There is one sum over samples and positions; "abs_sample" and "abs_element" both take
        its absolute, since autograd has no gradient of a weight for each sample.

    Returns name -> float64 scores on the CPU, [filter], [input channel] or in the weight's shape:
    sums over samples, signs treated as `rules` say, divided by the number of samples. The network
    computes as a copy, in eval mode, without autocast, and is left as it was.
    Raises ValueError as `require_rules` (but for the convolution), for an unknown granularity, for
    no name, for no sample, for a name that is not of a weight that can be scored so, and for
    labels that are not of the logits; FloatingPointError, naming the layer, when a weight or a
    relevance is not finite, and when a logit is not.
    """
    if granularity not in GRANULARITIES:
        raise ValueError(
            f"granularity must be one of {', '.join(GRANULARITIES)}, got {granularity!r}"
        )
    require_foldable(network)
    _require_names(network, names, granularity)
    rules, book = rules.of(granularity), _Book(rules.reduce)
    layers: list[AffineLayer] = []

    def layer(affine: Affine) -> AffineLayer:
        name = f"{affine.name}.weight"
        if name not in names:
            layers.append(RelevanceLayer(affine, rules))
        elif granularity == "weight":
            layers.append(RelevanceLayer(affine, rules, granularity, partial(book.add, name)))
        else:
            record = partial(book.add_values, name, affine.channel_dim)
            layers.append(RelevanceLayer(affine, rules, granularity, record))
        return layers[-1]

    folded = folded_copy(network, layer)
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
    return book.scores(names, n_samples)


def _require_names(network: nn.Module, names: Collection[str], granularity: str) -> None:
    modules = dict(network.named_modules())
    if not names:
        raise ValueError("there must be at least one weight to score, got no name")
    for name in names:
        layer = modules.get(name.removesuffix(".weight"))
        if not name.endswith("weight") or not isinstance(layer, (nn.Conv2d, nn.Linear)):
            raise ValueError(
                f"only weights of Conv2d and Linear layers can be scored, {name!r} is none"
            )
        groups = layer.groups if isinstance(layer, nn.Conv2d) else 1
        if granularity == "input_channel" and groups > 1:
            raise ValueError(
                f"a convolution scored by input channel must have 1 group, {name} is of {groups}"
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

    def scores(self, names: Collection[str], n_samples: int) -> dict[str, Tensor]:
        means = {name: (total / n_samples).cpu() for name, total in self.sums.items()}
        missing = [name for name in names if name not in means]
        if missing:
            raise ValueError(
                f"the logits in eval mode must depend on every layer that is scored by relevance, "
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
