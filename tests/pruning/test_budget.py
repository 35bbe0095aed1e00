"""A budget: what is counted is what is there, and one step less would cost too much."""

import pytest
import torch
from torchvision import models

from pruning import (
    Budget,
    OutOfReach,
    budget_of,
    choose_groups,
    choose_within,
    compact,
    counts,
    importance_of_groups,
    masks_of,
    n_pruned,
    prunable_weights,
    structure_of,
    survivors_of,
)
from tests.narrow_networks import NARROW, narrow_network
from tests.networks_for_tests import tiny_inception
from trainables.networks import count_cost, positions_of

PIXELS = 64


class Case:
    """A network, what of it may be pruned, and what of it costs how much."""

    def __init__(self, network, granularity, pixels=PIXELS, measure="macs"):
        self.network, self.granularity, self.measure = network, granularity, measure
        self.structure = structure_of(network)
        self.positions = positions_of(network, pixels)
        self.pixels = pixels
        names = list(prunable_weights(network, granularity=granularity, structure=self.structure))
        self.importance = importance_of_groups(
            network, "l1", granularity, names=names, structure=self.structure
        )
        self.whole = counts(network, {}, self.positions)[measure]

    def survivors(self, groups):
        keep = masks_of(self.network, groups, self.granularity, self.structure)
        return survivors_of(self.network, keep, self.structure)

    def cost(self, groups):
        return counts(self.network, self.survivors(groups), self.positions)[self.measure]

    def really(self, groups):
        """Counted on the network that is made, by its own layers."""
        cost = count_cost(compact(self.network, self.survivors(groups)), self.pixels)
        return {"macs": cost.macs, "params": cost.params}[self.measure]

    def one_each(self):
        """Importance of which the most important group of each layer goes last."""
        best = {name: each == each.max() for name, each in self.importance.items()}
        assert all(int(each.sum()) == 1 for each in best.values())
        return {n: each.masked_fill(best[n], 1e9) for n, each in self.importance.items()}

    def within(self, share, scope, **more):
        how = {"granularity": self.granularity, "scope": scope}
        return choose_within(self.cost, share * self.whole, self.importance, **how, **more)


@pytest.mark.parametrize("granularity", ["filter", "input_channel"])
@pytest.mark.parametrize("name", NARROW)
def test_what_is_counted_is_what_a_compacted_network_has(name, granularity):
    network = narrow_network(name, dtype=torch.float32)
    pixels = 96 if name.endswith("heads") else PIXELS
    for measure in ("macs", "params"):
        case = Case(network, granularity, pixels, measure)
        whole = count_cost(network, pixels)
        assert case.whole == {"macs": whole.macs, "params": whole.params}[measure]
        for rate in (0.2, 0.6):
            how = {"granularity": granularity, "scope": "layer"}
            groups = choose_groups(case.importance, rate, **how)
            assert case.cost(groups) == case.really(groups) <= case.whole


def by_trying(case, most, scope):
    """The slow way: every number of groups, or every rate of the layers, from none on."""
    sizes = [each.numel() for each in case.importance.values()]
    if scope == "global":
        rates = [k / sum(sizes) for k in range(sum(sizes) - len(sizes) + 1)]
    else:
        rates = sorted({k / n for n in sizes for k in range(n)})
    importance = case.importance if scope == "layer" else case.one_each()
    for rate in rates:
        how = {"granularity": case.granularity, "scope": scope}
        groups = choose_groups(importance, rate, **how)
        if case.really(groups) <= most:
            return groups
    raise AssertionError("out of reach")


@pytest.mark.parametrize("measure", ["macs", "params"])
@pytest.mark.parametrize("scope", ["global", "layer"])
@pytest.mark.parametrize("granularity", ["filter", "input_channel"])
def test_as_little_is_pruned_as_trying_every_number_finds(granularity, scope, measure):
    case = Case(tiny_inception(), granularity, 32, measure)
    shares = (0.9, 0.75) if granularity == "input_channel" else (0.8, 0.5, 0.3)
    for share in shares:
        chosen = case.within(share, scope)
        slow = by_trying(case, share * case.whole, scope)
        assert all(torch.equal(chosen[name], slow[name]) for name in slow)


def one_less(case, groups, scope):
    """What the next smaller step would have cost."""
    sizes = [kept.numel() for kept in groups.values()]
    gone = sum(int((~kept).sum()) for kept in groups.values())
    rate = (gone - 1) / sum(sizes)
    if scope == "layer":  # the highest rate of all that prunes less
        rates = {k / n for n in set(sizes) for k in range(n)}
        rate = max(r for r in rates if sum(n_pruned(r, n) for n in sizes) < gone)
    how = {"granularity": case.granularity, "scope": scope}
    importance = case.importance if scope == "layer" else case.one_each()
    return case.really(choose_groups(importance, rate, **how))


SLOW = pytest.mark.slow


@pytest.mark.parametrize("scope", ["global", "layer"])
@pytest.mark.parametrize(
    ("name", "measure"),
    [
        ("googlenet", "macs"),
        ("mobilenet_v2", "macs"),
        pytest.param("resnet50", "macs", marks=SLOW),
        pytest.param("googlenet", "params", marks=SLOW),
        pytest.param("resnet50", "params", marks=SLOW),
        pytest.param("mobilenet_v2", "params", marks=SLOW),
        pytest.param("shufflenet_v2_x0_5", "macs", marks=SLOW),
        pytest.param("resnext50_32x4d", "macs", marks=SLOW),
    ],
)
def test_a_budget_is_met_within_one_step(name, measure, scope):
    torch.manual_seed(0)
    more = {"aux_logits": False, "init_weights": False} if name == "googlenet" else {}
    network = models.get_model(name, num_classes=20, **more).eval()
    case = Case(network, "filter", PIXELS, measure)
    # Layers of an untrained network lie on scales of their own, and would nearly go as a whole.
    case.importance = {n: torch.rand(each.shape) for n, each in case.importance.items()}
    groups = case.within(0.5, scope)
    reached, before = case.really(groups) / case.whole, one_less(case, groups, scope) / case.whole
    print(name, scope, measure, f"{reached:.5f} {before:.5f}")
    assert reached <= 0.5 < before
    assert before - reached < (0.005 if scope == "global" else 0.03)


def test_no_layer_is_lost_to_a_budget():
    """A ranking over all layers by weights that lie on scales of their own."""
    network = tiny_inception()
    with torch.no_grad():
        network.last.conv.weight *= 1e-3
    case = Case(network, "filter", 32)
    at_a_rate = choose_groups(case.importance, 0.3, granularity="filter", scope="global")
    assert not at_a_rate["last.conv.weight"].any()
    groups = case.within(0.5, "global")
    assert all(kept.any() for kept in groups.values()) and case.cost(groups) / case.whole > 0.4


def test_rounds_nest_and_each_comes_to_its_budget():
    case = Case(tiny_inception(), "filter", 32)
    first = case.within(0.7, "global")
    later = case.within(0.4, "global", within=first)
    assert all(not later[name][~first[name]].any() for name in first)
    assert case.cost(later) <= 0.4 * case.whole < case.cost(first) <= 0.7 * case.whole
    again = case.within(0.7, "layer", within=first)  # nothing more has to go than another scope has
    assert all(not again[name][~first[name]].any() for name in first)


def test_a_budget_that_no_rate_reaches_says_what_is_left():
    case = Case(tiny_inception(), "filter", 32)
    with pytest.raises(OutOfReach) as error:
        case.within(1e-4, "layer")
    assert error.value.least > 1e-4 * case.whole


def test_what_a_budget_is_called():
    assert budget_of("macs=0.5") == Budget("macs", 0.5)
    assert budget_of("params=.25") == Budget("params", 0.25)
    for text in ("macs", "macs=0", "macs=1", "macs=1.5", "flops=0.5", "macs = 0.5", "macs=-1", ""):
        with pytest.raises(ValueError, match="a target must be macs=SHARE or params=SHARE"):
            budget_of(text)
