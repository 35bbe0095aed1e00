"""Batches for a device: what a GPU makes of a pack's images, computed here on a CPU."""

import pytest
import torch
from PIL import Image
from torchvision.transforms.v2 import functional as F

from trainables.datasets import pack as pack_module
from trainables.datasets.ahead import OnDevice, batches_on
from trainables.datasets.files import files_of
from trainables.datasets.image_folder import FolderImages
from trainables.datasets.pack import open_pack
from trainables.datasets.packed_images import PackedImages
from trainables.datasets.resampling import _weights, resize_crops
from trainables.datasets.threads import prepared

CPU = torch.device("cpu")
PIXELS, SIDE = 28, 32


def drawn(seed=0):
    return torch.Generator().manual_seed(seed)


def padded(n, sizes, seed=0):
    """Noise, which is the hardest, in the corners of a larger tensor of noise."""
    height, width = sizes.amax(0).tolist()
    shape = (n, height + 3, width + 5, 3)
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=drawn(seed))


@pytest.mark.parametrize("pixels", [7, 28, 64])
def test_crops_are_resized_as_torchvision_does(pixels):
    """Larger and smaller, one side at a time and both; what is padded is not seen."""
    sizes = torch.tensor(
        [[pixels, pixels], [20, 90], [90, 20], [5, 6], [101, 77], [64, 64], [1, 9]]
    )
    mirrored = torch.tensor([False, True, False, True, True, False, True])
    images = padded(7, sizes)
    found = resize_crops(images, sizes, mirrored, pixels)
    assert found.dtype == torch.uint8 and found.shape == (7, 3, pixels, pixels)
    assert found.is_contiguous(memory_format=torch.channels_last)
    for image, (height, width), mirror, view in zip(
        images, sizes.tolist(), mirrored, found, strict=True
    ):
        part = image[:height, :width].permute(2, 0, 1)
        wanted = F.resize(part, [pixels, pixels], antialias=True)
        wanted = wanted.flip(2) if mirror else wanted
        apart = (view.int() - wanted.int()).abs()
        assert apart.max() <= 2 and (apart > 0).float().mean() < 0.12, (height, width)
    assert torch.equal(found[0], images[0, :pixels, :pixels].permute(2, 0, 1))


def test_every_new_pixel_is_a_mean_of_old_ones():
    lengths = torch.tensor([1, 5, 40, 63])
    weights = _weights(lengths, 70, 16)
    torch.testing.assert_close(weights.sum(2), torch.ones(4, 16))
    assert (weights >= 0).all()
    for line, length in zip(weights, lengths.tolist(), strict=True):
        assert (line[:, length:] == 0).all() and (line.sum(0)[:length] > 0).all()


@pytest.fixture
def images(tmp_path, monkeypatch):
    """11 JPEG files of several shapes, packed in shards of four."""
    monkeypatch.setattr(pack_module, "SHARD", 4)
    paths = []
    for i in range(11):
        noise = torch.randint(0, 256, (5, 4, 3), dtype=torch.uint8, generator=drawn(i)).numpy()
        size = [(60, 48), (33, 33), (90, 35)][i % 3]
        paths.append(tmp_path / f"{i:02}.JPEG")
        Image.fromarray(noise).resize(size, Image.Resampling.BICUBIC).save(paths[-1])
    labels = torch.arange(11) % 4
    packed = PackedImages(
        open_pack(files_of(paths), SIDE, tmp_path / "cache", workers=1), labels, "d", PIXELS
    )
    return packed, FolderImages(files_of(paths), labels, "d", PIXELS)


@pytest.mark.parametrize("augmented", [False, True])
@pytest.mark.parametrize("workers", [0, 2])
def test_a_gpu_sees_the_same_crops(images, augmented, workers):
    packed = images[0]
    packed = PackedImages(packed.pack, packed.labels, "d", PIXELS, workers)
    order = torch.randperm(11, generator=drawn(3))

    def draw():
        return drawn(5) if augmented else None

    pairs = zip(
        packed.batches(order, 4, augment=draw()),
        packed.batches_by(packed.read_raw, order, 4, draw()),
        strict=True,
    )
    for (ids, views, labels), (raw_ids, parts, raw_labels) in pairs:
        assert torch.equal(ids, raw_ids) and torch.equal(labels, raw_labels)
        apart = (parts.finished(CPU).int() - views.int()).abs()
        assert apart.max() <= 2
        if not augmented:  # cut out, not resized
            assert apart.max() == 0


def test_on_a_cpu_batches_are_the_set_s_own(images):
    order = torch.tensor([3, 0, 7, 9])
    for each in images:
        found = list(batches_on(CPU, each, order, 3, augment=drawn()))
        wanted = list(each.batches(order, 3, augment=drawn()))
        for left, right in zip(found, wanted, strict=True):
            assert all(torch.equal(a, b) for a, b in zip(left, right, strict=True))
    assert isinstance(images[0], OnDevice) and not isinstance(images[1], OnDevice)


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_prepared_keeps_the_order_and_passes_errors_on(workers):
    def halved(x):
        if x == 9:
            raise ValueError("nine")
        return x / 2

    assert list(prepared(halved, range(9), workers)) == [x / 2 for x in range(9)]
    read = prepared(halved, range(20), workers)
    assert [next(read) for _ in range(9)] == [x / 2 for x in range(9)]
    with pytest.raises(ValueError, match="nine"):
        next(read)
