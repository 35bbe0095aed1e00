import copy
import io
from functools import partial

import pytest
import torch
from networks_for_tests import choose, tiny_inception
from torch.optim import SGD, Adam, AdamW

from pruning import GRANULARITIES, Held, measure_sparsity, prunable_weights

RATES = (0.3, 0.5, 0.8)
OPTIMIZERS = {
    "sgd": partial(SGD, lr=0.05, momentum=0.9, weight_decay=1e-2),
    "nesterov": partial(SGD, lr=0.05, momentum=0.9, weight_decay=1e-2, nesterov=True),
    "adam": partial(Adam, lr=1e-2, weight_decay=1e-2),
    "adamw": partial(AdamW, lr=1e-2, weight_decay=1e-1),
}
FORMS = {"loop": {"foreach": False}, "foreach": {"foreach": True}, "fused": {"fused": True}}


def mask(network, rate, granularity="weight", within=None):
    how = {"granularity": granularity, "scope": "layer", "criterion": "l1"}
    how["exclude"] = ["three.1"] if granularity == "2:4" else []  # whose 5 channels are no fours
    return choose(network, rate, within=within, **how)


def train(network, optimizer, held, steps=range(4), forward=None, precision=None):
    network.train()
    for step in steps:
        x = torch.randn(8, 3, 8, 8, generator=torch.Generator().manual_seed(step))
        optimizer.zero_grad()
        with torch.autocast("cpu", precision, enabled=precision is not None):
            outputs = network(x) if forward is None else forward(x)
        outputs.float().square().sum().backward()
        optimizer.step()
        if held is not None:
            held.apply()


def assert_zeros_are_the_masked(network, keep):
    for name, kept in keep.items():
        assert (network.get_parameter(name)[~kept] == 0).all(), name
    masked = [keep[name] for name in prunable_weights(network) if name in keep]
    n_masked = sum(int((~mask).sum()) for mask in masked)
    assert measure_sparsity(network, prunable_weights(network)).n_zero == n_masked > 0
    assert all(p.isfinite().all() for p in network.parameters())


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("granularity", GRANULARITIES)
def test_zero_stays_zero_over_rounds(granularity, optimizer, form):
    network, keep = tiny_inception(), None
    for round_, rate in enumerate(RATES):
        before, keep = keep, mask(network, rate, granularity, within=keep)
        held = Held(network, keep)
        assert held.revived(), "the mask must ask for more than is zero"
        held.apply()
        steps = OPTIMIZERS[optimizer](network.parameters(), **FORMS[form])
        start = {n: p.detach().clone() for n, p in network.named_parameters()}
        train(network, steps, held, range(4 * round_, 4 * round_ + 4))
        assert held.revived() == []
        assert_zeros_are_the_masked(network, keep)
        for name, kept in keep.items():
            assert (network.get_parameter(name) != start[name])[kept].any(), "the rest must train"
            assert before is None or (kept <= before[name]).all()


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_without_holding_the_weights_regrow(optimizer):
    """The released connection sparsity multiplied once: this is what happened to it."""
    network = tiny_inception()
    held = Held(network, mask(network, 0.6, "input_channel"))
    held.apply()
    train(network, OPTIMIZERS[optimizer](network.parameters()), None, range(1))
    assert held.revived()


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_masking_gradients_does_not_change_what_is_left(optimizer):
    """Holding after the step is enough: gradients of the pruned reach nothing that is kept."""
    networks = []
    for mask_gradients in (True, False):
        network = tiny_inception().train()
        keep = mask(network, 0.6)
        held = Held(network, keep)
        held.apply()
        steps = OPTIMIZERS[optimizer](network.parameters())
        for step in range(4):
            x = torch.randn(8, 3, 8, 8, generator=torch.Generator().manual_seed(step))
            steps.zero_grad()
            network(x).square().sum().backward()
            assert any((network.get_parameter(n).grad[~k] != 0).any() for n, k in keep.items())
            if mask_gradients:
                held.mask_gradients()
                for name, kept in keep.items():
                    gradient = network.get_parameter(name).grad
                    assert (gradient[~kept] == 0).all() and (gradient[kept] != 0).any()
            steps.step()
            held.apply()
        networks.append(network)
    for one, other in zip(*(n.state_dict().values() for n in networks), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_resumed_round_is_the_uninterrupted_one_to_the_bit(optimizer, form):
    def start():
        network = tiny_inception()
        return network, OPTIMIZERS[optimizer](network.parameters(), **FORMS[form])

    network, steps = start()
    keep = mask(network, 0.6)
    Held(network, keep).apply()
    train(network, steps, Held(network, keep), range(3))
    file = io.BytesIO()
    torch.save({"network": network.state_dict(), "steps": steps.state_dict(), "keep": keep}, file)
    train(network, steps, Held(network, keep), range(3, 6))

    file.seek(0)
    state = torch.load(file, weights_only=True)
    resumed, steps = start()
    resumed.load_state_dict(state["network"])
    steps.load_state_dict(state["steps"])
    held = Held(resumed, state["keep"])
    assert held.revived() == []
    train(resumed, steps, held, range(3, 6))
    assert_zeros_are_the_masked(resumed, keep)
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, resumed.state_dict()[name]), name


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_zero_stays_zero_under_autocast(optimizer):
    network, keep = tiny_inception(), None
    for rate in RATES:
        keep = mask(network, rate, within=keep)
        held = Held(network, keep)
        held.apply()
        steps = OPTIMIZERS[optimizer](network.parameters(), fused=True)
        train(network, steps, held, precision=torch.bfloat16)
        assert_zeros_are_the_masked(network, keep)
        assert all(p.dtype == torch.float32 for p in network.parameters())


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_new_masks_do_not_recompile(backend):
    torch._dynamo.reset()
    network, keep = tiny_inception().train(), None
    n_graphs = []

    def counted(graph, inputs):
        n_graphs.append(len(list(graph.graph.nodes)))
        return torch._dynamo.lookup_backend(backend)(graph, inputs)

    compiled = torch.compile(network, backend=counted)
    plain = copy.deepcopy(network)
    for rate in RATES:
        keep = mask(network, rate, within=keep)
        for each, forward in ((network, compiled), (plain, plain)):
            held = Held(each, keep)
            held.apply()
            train(each, OPTIMIZERS["sgd"](each.parameters()), held, forward=forward)
            assert_zeros_are_the_masked(each, keep)
    assert len(n_graphs) == 1, "one graph for all rounds"
    for name, tensor in plain.state_dict().items():
        torch.testing.assert_close(network.state_dict()[name], tensor)
    torch._dynamo.reset()


def test_masks_are_applied_in_place_and_only_where_they_are():
    network = tiny_inception()
    ids = {n: id(p) for n, p in network.named_parameters()}
    keys = list(network.state_dict())
    keep = {"last.conv.weight": torch.rand(12, 24, 3, 3) > 0.5}
    before = copy.deepcopy(network.state_dict())
    held = Held(network, keep)
    held.apply()
    assert {n: id(p) for n, p in network.named_parameters()} == ids
    assert list(network.state_dict()) == keys
    for name, tensor in network.state_dict().items():
        expected = before[name] * keep[name] if name in keep else before[name]
        assert torch.equal(tensor, expected)
    Held(network, {}).apply()
    Held(network, {}).mask_gradients()
    held.mask_gradients()  # no gradient yet
    assert network.last.conv.weight.grad is None


def test_what_is_not_zero_is_named_nan_included():
    network = tiny_inception()
    held = Held(
        network,
        {n: torch.zeros_like(p, dtype=torch.bool) for n, p in prunable_weights(network).items()},
    )
    held.apply()
    assert held.revived() == []
    with torch.no_grad():
        network.one.conv.weight[0, 0] = 1e-30
        network.last.conv.weight[1, 1, 1, 1] = torch.nan
    assert held.revived() == ["one.conv.weight", "last.conv.weight"]
    with pytest.raises(ValueError, match=r"one.conv.weight is \(6, 8, 1, 1\), its mask \(6,\)"):
        Held(network, {"one.conv.weight": torch.ones(6, dtype=torch.bool)})
