"""The extremes of every unit, against a plain sort of all activations."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mis_oracles import ranked_images
from torch import nn

from mis.score import extremes
from mis.score.collect import collect_extremes
from mis.score.extremes import ExtremesCollector, key_values, sort_keys


class Whole(nn.Module):
    """Small integer weights and pixels, 4 x 4 maps: float32 sums are exact in any order."""

    def __init__(self, seed=0):
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 3, padding=1)
        self.relu = nn.ReLU(inplace=True)
        self.fc = nn.Linear(6, 3)
        draw = torch.Generator().manual_seed(seed)
        for parameter in self.parameters():
            parameter.data = torch.randint(-2, 3, parameter.shape, generator=draw).float()
        self.conv.weight.data[4] = 0  # constant
        self.conv.bias.data[4] = 3
        self.conv.weight.data[5] = 0  # dead
        self.conv.bias.data[5] = 0

    def forward(self, x):
        return self.fc(self.relu(self.conv(x)).mean((2, 3)))


LAYERS = ["conv", "fc"]


def network():
    return Whole().eval()


def pictures(n=60, seed=1):
    draw = torch.Generator().manual_seed(seed)
    return torch.randint(-1, 2, (n, 3, 4, 4), generator=draw).float()


def permutation(n=60, seed=2):
    return torch.randperm(n, generator=torch.Generator().manual_seed(seed))


def batched(images, size=16, order=None):
    ids = torch.arange(len(images)) if order is None else order
    return [(chunk, images[chunk]) for chunk in ids.split(size)]


def collect(images=None, *, layers=LAYERS, depth=20, size=16, order=None, priority=None, **more):
    images = pictures() if images is None else images
    priority = permutation(len(images)) if priority is None else priority
    batches = batched(images, size, order)
    return collect_extremes(network(), layers, batches, depth=depth, priority=priority, **more)


def all_means(images):
    """[image, unit] of conv, then fc, computed without any hook."""
    net = network()
    with torch.no_grad():
        maps = net.conv(images)
        pooled = maps.clone().relu().mean((2, 3))
        return torch.cat([maps.mean((2, 3)), net.fc(pooled)], dim=1)


def test_extremes_equal_a_plain_sort():
    images, priority = pictures(), permutation()
    found = collect(images, priority=priority)
    means = all_means(images)
    assert found.layers == ("conv", "fc") and found.n_images == 60
    assert found.layer_of.tolist() == [0] * 6 + [1] * 3
    assert found.channel.tolist() == [0, 1, 2, 3, 4, 5, 0, 1, 2]
    n_ties = 0
    for unit in range(9):
        ranked = ranked_images(means[:, unit], priority)
        assert found.bottom[unit].tolist() == ranked[:20]
        assert found.top[unit].tolist() == ranked[::-1][:20]
        n_ties += 60 - len(means[:, unit].unique())
    assert n_ties > 100  # else this test says nothing about ties
    assert torch.equal(found.minimum, means.min(dim=0).values)
    assert torch.equal(found.maximum, means.max(dim=0).values)
    assert found.minimum.dtype == torch.float32 and found.top.dtype == torch.int64


def test_layers_are_read_after_what_they_go_through_and_the_network_goes_on_with_what_it_had():
    images, priority = pictures(), permutation()
    found = collect(images, priority=priority, through={"conv": torch.relu_})
    with torch.no_grad():
        maps = network().conv(images)
    assert (maps < 0).any(dim=0).any()  # else a ReLU would change nothing
    conv, fc = maps.relu().mean((2, 3)), all_means(images)[:, 6:]
    means = torch.cat([conv, fc], dim=1)
    assert (fc < 0).any() and torch.equal(found.minimum, means.min(dim=0).values)
    for unit in range(9):
        ranked = ranked_images(means[:, unit], priority)
        assert found.bottom[unit].tolist() == ranked[:20]
        assert found.top[unit].tolist() == ranked[::-1][:20]
    with pytest.raises(ValueError, match=r"through must name layers .* \['relu'\] are not$"):
        collect(images, through={"fc": abs, "relu": abs})


@pytest.mark.parametrize("size", [1, 7, 60])
def test_units_that_a_relu_silences_are_noted(size):
    """Of whole maps and all images: a mean below 0 says nothing."""
    images, net = pictures(), network()
    net.conv.bias.data[:4] -= torch.tensor([6.0, 9.0, 40.0, 0.0])
    settings = {"depth": 20, "priority": permutation(), "before_relu": ["conv"]}
    found = collect_extremes(net, LAYERS, batched(images, size), **settings)
    with torch.no_grad():
        maps = net.conv(images)
    silent = maps.amax((0, 2, 3)) <= 0
    assert silent.tolist() == [False, False, True, False, False, True]
    assert (maps.mean((2, 3)).amax(0) <= 0).sum() > 2  # else means would tell
    assert found.silent.tolist() == [*silent.tolist(), False, False, False]
    assert not collect(images).silent.any()
    half = ExtremesCollector(LAYERS, 20, permutation())
    for ids, part in batched(images, 20):
        half.add(ids, means_of(part), [maps[ids].amax((0, 2, 3)) <= 0, torch.zeros(3).bool()])
        again = ExtremesCollector(LAYERS, 20, permutation())
        again.load_state_dict(half.state_dict())
        half = again
    assert torch.equal(half.result().silent, found.silent)
    with pytest.raises(ValueError, match=r"before_relu must name layers .* \['relu'\] are not$"):
        collect(images, before_relu=["relu"])


@pytest.mark.parametrize("buffer", [1, 25, 2048])
@pytest.mark.parametrize("size", [1, 7, 60])
def test_batches_buffers_and_order_do_not_matter(monkeypatch, buffer, size):
    expected = collect()
    monkeypatch.setattr(extremes, "BUFFER_IMAGES", buffer)
    monkeypatch.setattr(extremes, "MERGE_UNITS", 4)
    found = collect(size=size, order=permutation(60, seed=9))
    for field in ("top", "bottom", "minimum", "maximum"):
        assert torch.equal(getattr(found, field), getattr(expected, field))


def test_a_constant_unit_shows_the_two_ends_of_a_random_order():
    priority = permutation()
    found = collect(priority=priority)
    for unit, value in ((4, 3.0), (5, 0.0)):
        assert found.minimum[unit] == found.maximum[unit] == value
        assert torch.equal(priority[found.bottom[unit]], torch.arange(20))
        assert torch.equal(priority[found.top[unit]], torch.arange(59, 39, -1))


def test_ids_need_not_be_consecutive():
    """An image set may be scored in part: ids are positions in a longer list."""
    images, priority = pictures(200), permutation(200)
    some = torch.arange(100, 160)
    found = collect(images, order=some, priority=priority)
    assert found.n_images == 60
    assert found.top.min() >= 100 and found.bottom.max() < 160


def test_instrumenting_changes_nothing_and_leaves_nothing():
    net, images = network(), pictures()
    before = net(images)
    collect_extremes(net, LAYERS, batched(images), depth=5, priority=permutation())
    assert torch.equal(net(images), before)
    assert not any(module._forward_hooks for module in net.modules())


def test_hooks_go_when_the_pass_fails():
    net = network()
    with pytest.raises(RuntimeError, match="channels"):
        batch = (torch.arange(60), torch.zeros(60, 5, 4, 4))
        collect_extremes(net, LAYERS, [batch], depth=5, priority=permutation())
    assert not any(module._forward_hooks for module in net.modules())


def test_the_results_are_ordinary_tensors():
    """Inference tensors may not be written to later."""
    found = collect()
    assert not any(t.is_inference() for t in (found.top, found.bottom, found.minimum))


class Overwriting(Whole):
    def forward(self, x):
        return self.relu(super().forward(x))


def test_a_linear_layer_overwritten_in_place_is_read_before():
    images = pictures()
    net = Overwriting().eval()
    found = collect_extremes(net, ["fc"], batched(images), depth=5, priority=permutation())
    expected = all_means(images)[:, 6:]
    assert expected.min() < 0
    assert torch.equal(found.minimum, expected.min(dim=0).values)


class Autocast(Whole):
    def forward(self, x):
        with torch.autocast("cpu", torch.bfloat16):
            return super().forward(x)


def test_under_autocast_the_mean_is_taken_in_float32():
    net, images = Autocast().eval(), pictures() * 0.37
    found = collect_extremes(net, ["conv"], batched(images), depth=5, priority=permutation())
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        maps = torch.cat([net.conv(chunk) for _, chunk in batched(images)])
    assert maps.dtype == torch.bfloat16
    means = maps.float().mean((2, 3))
    assert torch.equal(found.maximum, means.max(dim=0).values)
    assert not torch.equal(found.maximum, maps.mean((2, 3)).float().max(dim=0).values)


def test_googlenet_units_are_read_after_their_relu():
    torchvision = pytest.importorskip("torchvision")
    torch.manual_seed(0)
    net = torchvision.models.googlenet(weights=None, aux_logits=False, init_weights=False).eval()
    images = torch.randn(8, 3, 32, 32)
    layers = ["inception3a.branch2.1", "inception3a.branch1"]
    found = collect_extremes(net, layers, batched(images, 8), depth=4, priority=permutation(8))
    with torch.no_grad():
        x = net.maxpool1(net.conv1(images))
        x = net.maxpool2(net.conv3(net.conv2(x)))
        first = net.inception3a.branch2[0](x)
        means = []
        for block, into in ((net.inception3a.branch2[1], first), (net.inception3a.branch1, x)):
            means.append(block.bn(block.conv(into)).clamp(min=0).mean((2, 3)))
    means = torch.cat(means, dim=1)
    assert found.layer_of.tolist() == [0] * 128 + [1] * 64
    assert torch.allclose(found.maximum, means.max(dim=0).values, atol=1e-6)
    assert torch.allclose(found.minimum, means.min(dim=0).values, atol=1e-6)
    assert found.minimum.min() >= 0 and found.maximum.max() > 0


FLOATS = st.floats(width=32, allow_nan=False, allow_infinity=False)


@given(pairs=st.lists(st.tuples(FLOATS, st.integers(0, 2**31)), min_size=1, max_size=40))
@settings(max_examples=200, deadline=None)
def test_keys_order_as_value_then_priority(pairs):
    values = torch.tensor([value for value, _ in pairs], dtype=torch.float32)
    priority = torch.tensor([p for _, p in pairs])
    keys = sort_keys(values, priority)
    rank = sorted(range(len(pairs)), key=lambda i: (pairs[i][0], pairs[i][1]))
    by_key = sorted(range(len(pairs)), key=lambda i: int(keys[i]))
    assert [pairs[i] for i in rank] == [pairs[i] for i in by_key]  # 0.0 == -0.0
    assert torch.equal(key_values(keys), values)
    assert torch.equal(keys & 0xFFFF_FFFF, priority)


def test_zeros_of_either_sign_are_one_value():
    priority = torch.tensor([7])
    assert sort_keys(torch.tensor([-0.0]), priority) == sort_keys(torch.tensor([0.0]), priority)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_an_activation_that_is_no_number_is_named(value):
    net = network()
    net.fc.bias.data[1] = value
    with pytest.raises(FloatingPointError, match=r"channel 1 of layer 'fc'.*1 of 9 units"):
        collect_extremes(net, LAYERS, batched(pictures()), depth=5, priority=permutation())


def test_a_training_network_is_refused():
    net = network()
    net.relu.train()
    with pytest.raises(ValueError, match="eval mode"):
        collect_extremes(net, LAYERS, batched(pictures()), depth=5, priority=permutation())


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        (["conf"], r"no module 'conf'; it has conv"),
        (["zzz"], r"no module 'zzz'; it has conv, relu, fc"),
        ([""], r"no module ''"),
        ([], r"each once"),
        (["fc", "fc"], r"each once"),
    ],
)
def test_layers_the_network_lacks_are_refused(layers, message):
    with pytest.raises(ValueError, match=message):
        collect(layers=layers)


class Odd(Whole):
    """`relu` runs twice, `flat` gives three dimensions, `fc` never runs."""

    def __init__(self):
        super().__init__()
        self.flat = nn.Flatten(2)

    def forward(self, x):
        return self.flat(self.relu(self.relu(self.conv(x))))


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        ("relu", "'relu' runs more often"),
        ("fc", r"\['fc'\] did not"),
        ("flat", r"'flat' must give .* got \(16, 6, 16\)"),
    ],
)
def test_layers_without_plain_units_are_refused(layer, message):
    with pytest.raises(ValueError, match=message):
        batches = batched(pictures())
        collect_extremes(Odd().eval(), [layer], batches, depth=5, priority=permutation())


def test_too_few_images_are_refused_with_numbers():
    with pytest.raises(ValueError, match="62 images are needed to keep 31 extremes.* got 60"):
        collect(depth=31)
    collect(depth=30)
    with pytest.raises(ValueError, match="40 images are needed.* got 39"):
        collect(order=torch.arange(39))
    with pytest.raises(ValueError, match="depth must be at least 1, got 0"):
        collect(depth=0)


@pytest.mark.parametrize("priority", [torch.zeros(60, dtype=torch.int64), torch.arange(60.0)])
def test_a_priority_that_is_no_permutation_is_refused(priority):
    with pytest.raises(ValueError, match="int64 permutation of 0 … 59"):
        collect(priority=priority)


@pytest.mark.parametrize(
    ("order", "message"),
    [
        (torch.arange(61) % 60, "came twice"),
        (torch.tensor([3, 3]), "came twice"),
        (torch.tensor([-1]), "must lie in 0 … 59"),
    ],
)
def test_ids_that_cannot_be_are_refused(order, message):
    images = torch.cat([pictures(), pictures(1)])
    with pytest.raises(ValueError, match=message):
        collect(images, order=order, priority=permutation(60))


def means_of(images):
    means = all_means(images)
    return [means[:, :6], means[:, 6:]]


def same(found, expected):
    fields = ("layer_of", "channel", "top", "bottom", "minimum", "maximum", "silent")
    return found.n_images == expected.n_images and all(
        torch.equal(getattr(found, field), getattr(expected, field)) for field in fields
    )


@pytest.mark.parametrize("buffer", [1, 25, 2048])
def test_an_interrupted_pass_goes_on_from_a_file(monkeypatch, buffer, tmp_path):
    expected, images = collect(), pictures()
    monkeypatch.setattr(extremes, "BUFFER_IMAGES", buffer)
    path = tmp_path / "state.pt"
    steps = []

    class PowerCut(Exception):
        pass

    def save(done, total):
        steps.append((done, total))
        torch.save(collector.state_dict(), path)
        if done == 48:
            raise PowerCut

    for order in (permutation(60, seed=9), None):
        collector = ExtremesCollector(LAYERS, 20, permutation())
        if order is None:
            collector.load_state_dict(torch.load(path, weights_only=True))
            order = collector.remaining()
            assert order.tolist() == sorted(permutation(60, seed=9)[48:].tolist())
        try:
            found = collect_extremes(
                network(),
                LAYERS,
                batched(images, 16, order),
                depth=20,
                priority=permutation(),
                collector=collector,
                progress=save,
            )
        except PowerCut:
            continue
    assert steps == [(16, 60), (32, 60), (48, 60), (60, 60)]
    assert same(found, expected)


@given(
    cuts=st.lists(st.integers(0, 60), max_size=5),
    saved=st.lists(st.booleans(), min_size=6, max_size=6),
    seed=st.integers(0, 2**31),
)
@settings(max_examples=30, deadline=None)
def test_any_cuts_and_any_order_end_alike(cuts, saved, seed):
    images, order = pictures(), permutation(60, seed)
    collector = ExtremesCollector(LAYERS, 20, permutation())
    bounds = [0, *sorted(cuts), 60]
    for begin, end, save in zip(bounds, bounds[1:], saved, strict=False):
        ids = order[begin:end]
        if len(ids):
            collector.add(ids, means_of(images[ids]))
        assert collector.n_images == end
        if save:
            state = collector.state_dict()
            collector = ExtremesCollector(LAYERS, 20, permutation())
            collector.load_state_dict(state)
    assert same(collector.result(), collect())


def test_a_state_is_a_moment_and_a_result_no_end():
    images, ids = pictures(), torch.arange(60)
    collector = ExtremesCollector(LAYERS, 20, permutation())
    collector.add(ids[:45], means_of(images[:45]))
    state = collector.state_dict()
    part = collector.result()
    collector.add(ids[45:], means_of(images[45:]))
    assert same(collector.result(), collect()) and part.n_images == 45
    again = ExtremesCollector(LAYERS, 20, permutation())
    again.load_state_dict(state)
    assert again.n_images == 45 and same(again.result(), part)


@pytest.mark.parametrize(
    ("layers", "depth", "seed", "message"),
    [
        (["fc", "conv"], 20, 2, r"layers \['fc', 'conv'\]"),
        (LAYERS, 19, 2, "of depth 19 .*, it is of depth 20"),
        (LAYERS, 20, 3, "of the same priority"),
    ],
)
def test_a_collector_of_other_settings_is_refused(layers, depth, seed, message):
    collector = ExtremesCollector(LAYERS, 20, permutation())
    settings = {"depth": depth, "priority": permutation(seed=seed)}
    with pytest.raises(ValueError, match=message):
        collect_extremes(network(), layers, batched(pictures()), **settings, collector=collector)
    other = ExtremesCollector(layers, depth, permutation(seed=seed))
    with pytest.raises(ValueError, match="the collector must be of"):
        other.load_state_dict(collector.state_dict())


def test_images_met_before_the_interruption_must_not_come_again():
    collector = ExtremesCollector(LAYERS, 20, permutation())
    collector.add(torch.arange(5), means_of(pictures()[:5]))
    again = ExtremesCollector(LAYERS, 20, permutation())
    again.load_state_dict(collector.state_dict())
    with pytest.raises(ValueError, match="came twice"):
        again.add(torch.tensor([4]), means_of(pictures()[4:5]))
