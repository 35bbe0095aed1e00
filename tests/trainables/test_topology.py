"""What feeds what, channel by channel, against what autograd sees of one layer's input."""

import pytest
import torch
from narrow_networks import NARROW, images, narrow_network
from torch import nn

from trainables.networks import filter_sources

LAYERS = (nn.Conv2d, nn.Linear)


class Cut:
    """A forward pass in which the output of every layer is a leaf, so gradients go one layer back.

    What the layers put out is positive, and so is all that follows: every ReLU passes.
    """

    def __init__(self, network):
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                nn.init.ones_(module.weight), nn.init.ones_(module.bias)
                nn.init.zeros_(module.running_mean)
        self.leaves, self.inputs = {}, {}
        for name, module in network.named_modules():
            if isinstance(module, LAYERS):
                module.register_forward_hook(self.note(name))
        # The auxiliary heads run in training only; BatchNorm stays as it is.
        network.training = True
        network(images(0, 48))

    def note(self, name):
        def hook(_, given, output):
            self.inputs[name] = given[0]
            self.leaves[name] = torch.rand_like(output).requires_grad_()
            return self.leaves[name].clone()  # which a ReLU may overwrite

        return hook

    def reached(self, reader, columns):
        """(layer, channel) whose output these columns of the reader's input depend on."""
        leaves = {n: leaf for n, leaf in self.leaves.items() if n != reader}
        summed = self.inputs[reader][:, columns].sum()
        if not summed.requires_grad:
            return set()
        gradients = torch.autograd.grad(
            summed, list(leaves.values()), retain_graph=True, allow_unused=True
        )
        return {
            (name, channel)
            for name, gradient in zip(leaves, gradients, strict=True)
            if gradient is not None
            for channel in gradient.transpose(0, 1).flatten(1).any(1).nonzero()[:, 0].tolist()
        }


@pytest.mark.parametrize("name", NARROW)
def test_an_input_channel_depends_on_just_the_filters_that_are_named(name):
    network = narrow_network(name)
    sources, width = filter_sources(network), {}
    for layer, module in network.named_modules():
        if isinstance(module, nn.Conv2d):
            width[layer] = module.out_channels
    cut = Cut(network)
    for reader, spans in sources.items():
        widths = [width[span[0]] for span in spans]
        each = cut.inputs[reader].shape[1] // sum(widths)
        assert each * sum(widths) == cut.inputs[reader].shape[1]
        start = 0
        for span, n_channels in zip(spans, widths, strict=True):
            for channel in (0, n_channels // 3, n_channels - 1):
                first = (start + channel) * each
                found = cut.reached(reader, slice(first, first + each))
                assert found == {(source, channel) for source in span}, (reader, channel)
            start += n_channels


@pytest.mark.parametrize("name", NARROW)
def test_no_reader_of_a_convolution_is_left_out(name):
    network = narrow_network(name)
    cut = Cut(network)
    convolutions = {n for n, m in network.named_modules() if isinstance(m, nn.Conv2d)}
    readers = {
        reader
        for reader in cut.inputs
        if any(layer in convolutions for layer, _ in cut.reached(reader, slice(None)))
    }
    assert readers == set(filter_sources(network))


def test_another_network_is_refused():
    with pytest.raises(ValueError, match="a ResNet of bottlenecks or a VGG, got a Sequential$"):
        filter_sources(nn.Sequential())
