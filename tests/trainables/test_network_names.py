"""Networks by name: torchvision's, timm's; which there are, their weights, and what is refused."""

import importlib.util
import urllib.error

import pytest
import torch
from torchvision.models import get_model, get_model_weights, list_models

from trainables.config import NetworkConfig
from trainables.network_names import HEADS, has_no_norm, torchvision_names
from trainables.networks import (
    build_network,
    logits_of,
    n_parameters,
    network_arguments,
    rebuild,
    require_pixels,
)

needs_timm = pytest.mark.skipif(importlib.util.find_spec("timm") is None, reason="make timm")


def config(name, weights="random", **more):
    return NetworkConfig(name=name, weights=weights, **more)


def test_there_are_68_convolutional_networks_in_torchvision():
    names = torchvision_names()
    assert len(names) == 68 and set(HEADS) < set(names)
    assert not any(name.startswith(("vit", "swin", "maxvit")) for name in names)


@pytest.mark.parametrize("name", ["alexnet", "vgg11_bn", "squeezenet1_1", "mnasnet0_5", "resnet18"])
def test_names_say_whether_a_network_has_a_batchnorm(name):
    with torch.device("meta"):
        network = build_network(config(name), 7)
    norms = any(isinstance(m, torch.nn.BatchNorm2d) for m in network.modules())
    assert has_no_norm(name) == (not norms)


@pytest.mark.parametrize("name", ["mobilenet_v3_small", "resnet18", "regnet_y_400mf"])
def test_a_network_of_torchvision_is_its_own(name):
    """The same bits as torchvision's function gives, which draws its own initialisation."""
    networks = []
    for build in (lambda: build_network(config(name), 7), lambda: get_model(name, num_classes=7)):
        torch.manual_seed(3)
        networks.append(build().state_dict())
    assert networks[0].keys() == networks[1].keys()
    assert all(torch.equal(networks[0][n], networks[1][n]) for n in networks[0])
    assert n_parameters(config(name)) == sum(
        p.numel() for p in get_model(name, num_classes=10).parameters()
    )


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("resnet19", "got 'resnet19'; close to it: resnet18, "),
        ("ResNet18", "got 'ResNet18'; close to it: resnet18, "),
        ("zzz", "got 'zzz'; such as alexnet, "),
        ("", "got ''; such as alexnet, "),
        ("vit_b_16", "got 'vit_b_16', a transformer: what is pruned here are convolutions$"),
        ("swin_t", "got 'swin_t', a transformer"),
        ("fcn_resnet50", "got 'fcn_resnet50', a network of torchvision for another task than "),
        ("fasterrcnn_resnet50_fpn", "for another task than the classification of images$"),
        ("raft_small", "for another task than the classification of images$"),
        (
            "my-nets:small",
            "must be package.module:function, names with dots between, got 'my-nets:",
        ),
        ("a:b:c", "must be package.module:function, names with dots between, got 'a:b:c'$"),
        (":make", "must be package.module:function, names with dots between, got ':make'$"),
    ],
)
def test_what_is_no_network_is_refused_by_name(name, message):
    with pytest.raises(ValueError, match=message) as refusal:
        config(name)
    assert "\n" not in str(refusal.value)


def test_every_other_network_of_torchvision_is_refused():
    for name in set(list_models()) - set(torchvision_names()):
        with pytest.raises(ValueError, match="network.name must be a convolutional"):
            config(name)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "least", "heads"),
    [("alexnet", 63, False), ("inception_v3", 75, False), ("googlenet", 15, False)],
)
def test_the_smallest_image_that_goes_through_is_named(name, least, heads):
    require_pixels(config(name, aux_heads=heads), least)
    message = rf"data.pixels must be at least {least} for {name}, got {least - 1}$"
    with pytest.raises(ValueError, match=message):
        require_pixels(config(name, aux_heads=heads), least - 1)


@pytest.mark.slow
def test_heads_of_inception_need_larger_images_in_training():
    with_heads = config("inception_v3", aux_heads=True)
    with pytest.raises(ValueError, match="at least 299 for inception_v3 in training, auxiliary he"):
        require_pixels(with_heads, 128)
    network = rebuild(network_arguments(with_heads, 7)).train()
    logits, heads = logits_of(network(torch.zeros(2, 3, 299, 299)))
    assert logits.shape == (2, 7) and [h.shape for h in heads] == [(2, 7)]


@pytest.fixture
def offline(tmp_path, monkeypatch):
    """An empty folder for torchvision's files, and no internet."""

    def no_internet(url, *_, **__):
        raise urllib.error.URLError("no route to host")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr("torch.hub.urlopen", no_internet)
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    return folder


def test_imagenet_weights_of_any_network_are_torchvisions(offline):
    imagenet = config("mobilenet_v3_small", "imagenet")
    with pytest.raises(ValueError, match="must be downloaded from https.*mobilenet_v3_small.*no r"):
        build_network(imagenet, 1000)
    torch.manual_seed(1)
    network = build_network(config("mobilenet_v3_small"), 1000)
    weights = get_model_weights("mobilenet_v3_small").IMAGENET1K_V1
    torch.save(network.state_dict(), offline / weights.url.rpartition("/")[2])
    loaded = build_network(imagenet, 1000).state_dict()
    assert all(torch.equal(loaded[n], t) for n, t in network.state_dict().items())


@pytest.mark.parametrize("aux_heads", [False, True])
def test_inception_has_its_heads_only_where_they_are_asked_for(offline, aux_heads):
    torch.manual_seed(1)
    whole = get_model("inception_v3", weights=None, init_weights=False)
    torch.save(whole.state_dict(), offline / "inception_v3_google-0cc3c7bd.pth")
    network = build_network(config("inception_v3", "imagenet", aux_heads=aux_heads), 1000)
    assert network.transform_input and (network.AuxLogits is not None) == aux_heads
    again = rebuild(
        network_arguments(config("inception_v3", "imagenet", aux_heads=aux_heads), 1000)
    )
    again.load_state_dict(network.state_dict())
    assert again.transform_input


@pytest.mark.parametrize(
    ("name", "classes", "message"),
    [
        (
            "resnet18",
            20,
            "ImageNet weights have 1000 classes, the data has 20: network.recipe",
        ),
        ("regnet_y_128gf", 1000, "IMAGENET1K_V1, torchvision has none for regnet_y_128gf"),
        ("efficientnet_v2_l", 1000, r"those of efficientnet_v2_l are of mean \(0.5, 0.5, 0.5\)"),
    ],
)
def test_imagenet_weights_that_do_not_fit_are_refused(name, classes, message):
    with pytest.raises(ValueError, match=message):
        build_network(config(name, "imagenet"), classes)


@needs_timm
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("timm:resnet19", "networks of timm .*, got 'resnet19'; close to it: resnet18, "),
        ("timm:resnet18.none", "the tag of timm:resnet18.none must be one that .*resnet18.a1_in1k"),
        ("timm:hf-hub:me/net", "networks of timm .*, got 'hf-hub:me/net'"),
    ],
)
def test_what_is_no_network_of_timm_is_refused(name, message):
    with pytest.raises(ValueError, match=message):
        config(name)


@needs_timm
def test_a_network_of_timm_is_built_and_rebuilt():
    import timm

    torch.manual_seed(0)
    network = build_network(config("timm:resnet18"), 7)
    torch.manual_seed(0)
    same = timm.create_model("resnet18", num_classes=7)
    assert torch.equal(network.fc.weight, same.fc.weight)
    rebuild(network_arguments(config("timm:resnet18"), 7)).load_state_dict(network.state_dict())
    require_pixels(config("timm:resnet18"), 32)


@needs_timm
def test_a_machine_without_timm_says_how_to_get_it(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ValueError, match="needs the package timm, which is not installed: make ti"):
        config("timm:resnet26")


@needs_timm
def test_imagenet_weights_of_timm_come_from_its_own_cache(tmp_path, monkeypatch):
    """A cache of huggingface_hub as a download leaves it; there is no internet."""
    import huggingface_hub.constants
    from safetensors.torch import save_file

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    imagenet = config("timm:resnet18.a1_in1k", "imagenet")
    with pytest.raises(ValueError, match="timm:resnet18.a1_in1k must be downloaded from timm/resn"):
        build_network(imagenet, 1000)
    torch.manual_seed(1)
    network = build_network(config("timm:resnet18"), 1000)
    snapshot = tmp_path / "models--timm--resnet18.a1_in1k" / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    (snapshot.parents[1] / "refs").mkdir()
    (snapshot.parents[1] / "refs" / "main").write_text("abc")
    save_file(network.state_dict(), snapshot / "model.safetensors")
    loaded = build_network(imagenet, 1000).state_dict()
    assert all(torch.equal(loaded[n], t) for n, t in network.state_dict().items())
    with pytest.raises(ValueError, match="have 1000 classes, the data has 20"):
        build_network(imagenet, 20)
    with pytest.raises(ValueError, match=r"those of timm:inception_v3 are of mean \(0.5, 0.5, 0.5"):
        build_network(config("timm:inception_v3", "imagenet"), 1000)
