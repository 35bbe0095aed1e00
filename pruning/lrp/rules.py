"""How a layer spreads the relevance of its outputs over its inputs: the rules of layer-wise
relevance propagation (LRP; Bach et al. 2015).

Relevance R of a value is carried as value x gradient, so that plain autograd spreads it. A layer
keeps its outputs y, but its gradient is that of a denominator d, scaled by y / d:

    z+            d = a+ W+ + a- W-    all of R goes by d
    alpha2beta1   d' = a- W+ + a+ W-   2 R goes by d, -R by d'
    epsilon       d = a W              all of R goes by d

with a+ = max(a, 0) and so on: inputs may be negative. ReLU, max pooling (the winner takes all),
average pooling, concatenation and flattening need nothing; other activations and LRN pass on what
they get (`activations.py`), and so does a BatchNorm that is not folded into a layer, but for what
its shift stands for where biases are kept (the epsilon rule). Nor does a residual sum: its summands
get R in proportion to their values, signs included: the epsilon rule that Yeom et al. give sums.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from functools import reduce
from typing import Any, Literal, Self, get_args, get_type_hints

import torch
from torch import Tensor

from pruning.lrp.folded import Affine, AffineLayer


@dataclass(frozen=True, kw_only=True)
class LrpRules:
    """The choices that change a ranking. The defaults are those of the ResNet runs of Yeom et al.
    (2021, released code), but that these take absolutes an element and not a sample.

    rule: of convolutions. "zplus" (Montavon et al. 2017; alpha 1, beta 0): no output gives more
        than it got. It gives every negative weight 0 where inputs are not negative, half of all,
        and "alpha2beta1" (Bach et al. 2015) does not. An output that nothing spoke against, or
        nothing for, is spread by z+ there, too: sparse networks have many, and giving them 2 R
        would double relevance layer by layer. "auto": alpha2beta1 for single weights, z+
        for filters and input channels.
    head: the rule of Linear layers. "epsilon" has signs; a sum a W near 0 gives large relevances
        of both. "zplus" has none (Yeom et al.'s VGG and toy runs).
    bias: "ignore": inputs get all of an output's relevance, so that every cut through the network
        carries the same total. "keep": a bias (a BatchNorm's, too) takes the share that its value
        gives it.
    target: the class whose logit starts with relevance 1, the others with 0: that of the "label",
        or the "argmax" of the logits.
    reduce: what becomes of signs before samples are added up. "abs_sample": the absolute of a
        sample's sum over positions; "abs_element": the sum of absolutes (Yeom et al., ResNet);
        "signed": the sum (Yeom et al., VGG): negative relevance is pruned first.
    stabilizer: denominators nearer to 0 are moved to this distance from it, and what they stood
        for is spread in part only: an output without a contribution (a bias alone) ends there.

    Raises ValueError for a choice that is not listed and for a stabilizer that is not a positive
    number.
    """

    rule: Literal["auto", "zplus", "alpha2beta1"] = "auto"
    head: Literal["epsilon", "zplus"] = "epsilon"
    bias: Literal["ignore", "keep"] = "ignore"
    target: Literal["label", "argmax"] = "label"
    reduce: Literal["abs_sample", "abs_element", "signed"] = "abs_sample"
    stabilizer: float = 1e-6

    def __post_init__(self) -> None:
        hints = get_type_hints(type(self))
        for field in fields(self):
            choices, value = get_args(hints[field.name]), getattr(self, field.name)
            if choices and value not in choices:
                raise ValueError(
                    f"LrpRules.{field.name} must be one of {', '.join(choices)}, got {value!r}"
                )
        number = self.stabilizer
        if isinstance(number, bool) or not isinstance(number, (int, float)):
            raise ValueError(f"LrpRules.stabilizer must be a float, got {number!r}")
        if not math.isfinite(number):
            raise ValueError(f"LrpRules.stabilizer must be finite, got {number}")
        if number <= 0:
            raise ValueError(f"LrpRules.stabilizer must be positive, got {number}")
        object.__setattr__(self, "stabilizer", float(number))  # 1 and 1.0 make one key

    def of(self, granularity: str) -> Self:
        """The same with the rule named that "auto" means for a granularity."""
        if self.rule != "auto":
            return self
        return replace(self, rule="alpha2beta1" if granularity == "weight" else "zplus")


class RelevanceLayer(AffineLayer):
    """The outputs of a layer, the gradient of a rule.

    rules: with the rule named, not "auto".
    record: called once a pass with the relevance that is asked for: of the outputs ("filter"), of
        the inputs through this layer ("input_channel"), both [sample, ...]; of the weight
        ("weight") in one part or in two that add up.
    """

    def __init__(
        self,
        affine: Affine,
        rules: LrpRules,
        asked: str | None = None,
        record: Callable[[Tensor], None] | None = None,
    ) -> None:
        super().__init__(affine)
        of_kind = {"convolution": rules.rule, "linear": rules.head, "norm": "epsilon"}
        self.rule = of_kind[affine.kind]
        self.stabilizer = rules.stabilizer
        self.asked, self.record = asked, record or (lambda _: None)
        bias = affine.bias if rules.bias == "keep" else None
        halves = (torch.clone,) if self.rule == "epsilon" else (_positive, _negative)
        self.weights = [half(affine.weight) for half in halves]
        self.biases = [None if bias is None else half(bias) for half in halves]
        if asked == "weight":
            for part in self.weights:
                part.requires_grad_().register_post_accumulate_grad_hook(self._record_weight)

    def respond(self, inputs: Tensor) -> Tensor:
        affine = self.affine
        with torch.no_grad():
            outputs = affine.of(inputs, affine.weight, affine.bias)
        if self.asked == "input_channel":
            inputs = self._own(inputs)
        if inputs.requires_grad or self.asked == "weight":
            parts = self._parts(inputs)
        elif self.asked is None:
            return outputs
        else:  # nothing further down is asked for: relevance ends here
            parts = [torch.ones_like(outputs, requires_grad=True)]
        with torch.no_grad():
            shares = self._stabilized_shares(parts)
            ratios = [
                outputs / part if share is None else outputs * share / part
                for share, part in zip(shares, parts, strict=True)
            ]
        record = self.record if self.asked == "filter" else None
        return _Spread.apply(outputs, record, ratios, *parts)

    def _own(self, inputs: Tensor) -> Tensor:
        """This layer's view of what it reads: gradients of other readers do not come by."""
        own = inputs.view_as(inputs) if inputs.requires_grad else inputs.detach().requires_grad_()
        values = inputs.detach()
        own.register_hook(lambda gradient: self.record(values * gradient))
        return own

    def _record_weight(self, part: Tensor) -> None:
        gradient, part.grad = part.grad, None
        if gradient is not None:
            self.record(part.detach() * gradient)

    def _parts(self, inputs: Tensor) -> list[Tensor]:
        """The denominators: one, or those that speak for the output and against it."""
        of, weights, biases = self.affine.of, self.weights, self.biases
        if self.rule == "epsilon":
            return [of(inputs, weights[0], biases[0])]
        sides = (0, 1) if self.rule == "alpha2beta1" else (0,)
        # Most inputs come from a ReLU, and need half as much.
        signed = bool(inputs.detach().amin() < 0)
        above = _positive(inputs) if signed else inputs
        parts = [of(above, weights[side], biases[side]) for side in sides]
        if signed:
            below = _negative(inputs)
            parts = [part + of(below, weights[1 - side], None) for side, part in enumerate(parts)]
        return parts

    def _stabilized_shares(self, parts: list[Tensor]) -> list[Tensor | None]:
        """The share of the relevance that each part spreads (None: all); moves parts off 0."""
        if self.rule == "epsilon":
            parts[0].detach().copy_(away_from_zero(parts[0], self.stabilizer))
            return [None]
        shares: list[Tensor | None] = [None]
        if len(parts) == 2:
            both = ((parts[0] > 0) & (parts[1] < 0)).to(parts[0].dtype)
            shares = [1 + both, -both]
            parts[1].detach().clamp_(max=-self.stabilizer)
        # Not only near 0: where all are 0 some convolutions on a GPU give small negatives.
        parts[0].detach().clamp_(min=self.stabilizer)
        return shares


class _Spread(torch.autograd.Function):
    """The outputs as they are; each part gets the gradient of the outputs times its ratio."""

    @staticmethod
    def forward(
        ctx: Any, outputs: Tensor, record: Any, ratios: list[Tensor], *parts: Tensor
    ) -> Tensor:
        ctx.mark_dirty(outputs)  # they are returned, and may be written to by an in-place ReLU
        ctx.record, ctx.ratios = record, ratios
        ctx.parts = [part.detach() for part in parts]
        return outputs

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Any, ...]:
        flows = [gradient * ratio for ratio in ctx.ratios]
        if ctx.record is not None:
            pairs = zip(flows, ctx.parts, strict=True)
            ctx.record(reduce(torch.add, (flow * part for flow, part in pairs)))
        return (None, None, None, *flows)


def away_from_zero(values: Tensor, distance: float) -> Tensor:
    """Values nearer to 0 than `distance` moved to that distance, on the side where they are."""
    moved = torch.full_like(values, distance).copysign(values)
    return torch.where(values.abs() < distance, moved, values)


def _positive(values: Tensor) -> Tensor:
    return values.clamp(min=0)


def _negative(values: Tensor) -> Tensor:
    return values.clamp(max=0)
