"""What competes when a network is pruned: of each granularity, with Linear layers and biases."""

import pytest
import torch
from narrow_networks import images, narrow_network
from torch import nn
from torchvision.models import get_model

from pruning import Held, compact, structure_of, survivors_of, with_followers
from pruning.prunable import prunable_weights


def network_of(name):
    torch.manual_seed(0)
    return get_model(name, weights=None, num_classes=5).double().eval()


def layers_of(network, kinds):
    return [name for name, module in network.named_modules() if isinstance(module, kinds)]


def test_of_convolutions_all_but_the_first():
    network = narrow_network("googlenet_with_heads")
    names = layers_of(network, nn.Conv2d)
    for granularity in ("weight", "filter", "input_channel"):
        found = prunable_weights(network, granularity=granularity)
        assert list(found) == [f"{name}.weight" for name in names[1:]]
        assert all(found[name] is network.get_parameter(name) for name in found)


def test_of_all_layers_as_in_the_released_runs_of_von_rad_and_seuffert():
    """Every other convolution and every Linear layer, weights and biases."""
    network = narrow_network("googlenet_with_heads")
    exclude = ("conv2", "conv3", "aux1.conv", "aux2.conv")
    found = prunable_weights(network, exclude, layers="conv+linear", biases=True)
    linear = [f"{head}.fc{k}" for head in ("aux1", "aux2") for k in (1, 2)] + ["fc"]
    convolutions = [n for n in layers_of(network, nn.Conv2d) if n.startswith("inception")]
    assert set(found) == (
        {f"{name}.weight" for name in [*convolutions, *linear]}
        | {f"{name}.bias" for name in linear}
    )
    assert len(convolutions) == 54


def test_classes_never_go_but_their_weights_and_inputs_do():
    network = narrow_network("googlenet_with_heads")
    classes = {"fc.weight", "aux1.fc2.weight", "aux2.fc2.weight"}
    for granularity in ("weight", "input_channel"):
        assert classes <= set(
            prunable_weights(network, granularity=granularity, layers="conv+linear")
        )
    filters = set(prunable_weights(network, granularity="filter", layers="conv+linear"))
    assert classes.isdisjoint(filters) and {"aux1.fc1.weight", "aux2.fc1.weight"} <= filters
    squeezenet = network_of("squeezenet1_1")  # whose classes are a convolution's filters
    assert "classifier.1.weight" not in prunable_weights(squeezenet, granularity="filter")
    assert "classifier.1.weight" in prunable_weights(squeezenet)


def test_depthwise_filters_follow_and_grouped_convolutions_keep_their_input_channels():
    network = network_of("mobilenet_v2")
    modules = dict(network.named_modules())
    depthwise = {n for n in layers_of(network, nn.Conv2d) if modules[n].groups > 1}
    assert len(depthwise) == 17
    for granularity in ("weight", "filter", "input_channel"):
        found = {
            n.removesuffix(".weight") for n in prunable_weights(network, granularity=granularity)
        }
        assert found == set(layers_of(network, nn.Conv2d)) - depthwise - {"features.0.0"}
    resnext = network_of("resnext50_32x4d")
    assert "layer1.0.conv2.weight" in prunable_weights(resnext, granularity="filter")
    assert "layer1.0.conv2.weight" not in prunable_weights(resnext, granularity="input_channel")


def test_refusals():
    network = narrow_network("vgg")
    with pytest.raises(ValueError, match="must hold a convolution, 'classifier' does not"):
        prunable_weights(network, ["classifier"])
    prunable_weights(network, ["classifier.0"], layers="conv+linear")
    with pytest.raises(ValueError, match=r"nothing is left to prune: each convolution of 10"):
        prunable_weights(network, ["features"])
    with pytest.raises(ValueError, match="biases are single weights: .* got 'filter'"):
        prunable_weights(network, granularity="filter", biases=True)


def test_linear_layers_and_biases_that_are_not_there_are_refused():
    network = narrow_network("googlenet")  # one Linear layer, the classes; convolutions without
    with pytest.raises(ValueError, match="of this network it adds none"):
        prunable_weights(network, granularity="filter", layers="conv+linear")
    with pytest.raises(ValueError, match="none of the layers that may be pruned has one"):
        prunable_weights(network, biases=True)
    assert "fc.bias" in prunable_weights(network, layers="conv+linear", biases=True)


def test_a_weight_that_is_made_of_others_is_refused_by_name():
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.Flatten())
    nn.utils.parametrizations.weight_norm(network[2])
    with pytest.raises(ValueError, match="that of 2 is made of others"):
        prunable_weights(network)


class Unclear(nn.Module):
    """No trace can follow it: what it does depends on its values."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3), nn.Conv2d(4, 5, 3)

    def forward(self, x):
        x = self.b(self.a(x).relu())
        return self.c(x if x.mean() > 0 else -x).mean((2, 3))


def test_of_a_network_that_cannot_be_traced_the_first_and_the_last_layer_are_guessed():
    assert list(prunable_weights(Unclear())) == ["b.weight", "c.weight"]
    assert list(prunable_weights(Unclear(), granularity="filter")) == ["b.weight"]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["vgg", "vgg_bn", "googlenet_with_heads", "alexnet"])
def test_linear_layers_are_compacted_to_equal_outputs_and_gradients(name):
    """Their filters go with what reads them, and their columns with the filters that they read."""
    network = narrow_network(name) if name != "alexnet" else network_of(name)
    structure = structure_of(network)
    weights = prunable_weights(network, granularity="filter", layers="conv+linear")
    generator = torch.Generator().manual_seed(0)
    keep = {}
    for weight, tensor in weights.items():
        rows = torch.rand(len(tensor), generator=generator) < 0.5
        rows[0] = True
        keep[weight] = rows.reshape(-1, *(1,) * (tensor.dim() - 1)).expand(tensor.shape).clone()
    keep = with_followers(network, keep, structure)
    held = Held(network, keep)
    held.apply()
    kept = survivors_of(network, keep, structure)
    smaller = compact(network, kept)
    shrunk = [n for n in layers_of(network, nn.Linear) if f"{n}.weight" in weights]
    assert shrunk
    for layer in shrunk:
        rows = keep[f"{layer}.weight"].flatten(1).any(1)
        assert smaller.get_submodule(layer).out_features == int(rows.sum()) < len(rows)
    x = images(1, 64)
    want, have = network(x), smaller(x)
    torch.testing.assert_close(have, want, rtol=0, atol=1e-12)
    want.square().sum().backward()
    have.square().sum().backward()
    held.mask_gradients()
    for name_, parameter in smaller.named_parameters():
        gradient = network.get_parameter(name_).grad
        if gradient is None:
            assert parameter.grad is None
            continue
        rows, *columns = [index for index in kept.get(name_, ())] or [slice(None)]
        part = gradient[rows]
        if columns:
            part = part[:, columns[0]] if columns[0].dim() == 1 else part
        torch.testing.assert_close(parameter.grad, part, rtol=1e-9, atol=1e-12)


def test_a_class_without_a_weight_keeps_its_bias():
    network = narrow_network("googlenet")
    keep = {"fc.weight": torch.ones_like(network.fc.weight, dtype=torch.bool)}
    keep["fc.weight"][1] = False
    keep = with_followers(network, keep, structure_of(network))
    assert "fc.bias" not in keep or keep["fc.bias"].all()


def test_a_weight_that_two_layers_share_counts_once():
    network = nn.Sequential(
        nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 3), nn.Conv2d(4, 4, 3), nn.Conv2d(4, 4, 3)
    )
    network[2].weight = network[1].weight
    assert list(prunable_weights(network)) == ["1.weight", "3.weight"]
