"""Arrays as image sets, and what augments them."""

import numpy as np
import pytest
import torch
from torchvision.transforms.v2 import functional as F

from trainables.datasets.images import (
    MEAN,
    STD,
    ArrayImages,
    draw_shifts,
    flip_and_shift,
    normalise,
    split_batches,
)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def pictures(n=6, height=12, width=9, seed=0):
    return torch.randint(256, (n, 3, height, width), generator=generator(seed), dtype=torch.uint8)


def array_images(n=7, pixels=16):
    return ArrayImages(pictures(n, pixels, pixels).permute(0, 2, 3, 1).numpy(), torch.arange(n), "")


def test_normalise_is_torchvisions():
    images = pictures()
    before = images.clone()
    found = normalise(images)
    expected = F.normalize(F.to_dtype(images, torch.float32, scale=True), MEAN, STD)
    assert torch.allclose(found, expected, atol=1e-5)
    assert found.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(images, before)


def slow_flip_and_shift(images, shift, draw):
    """An image and a pixel at a time; the same draws."""
    n, _, height, width = images.shape
    down, right = torch.randint(0, 2 * shift + 1, (2, n, 1), generator=draw)[..., 0].tolist()
    mirrored = (torch.rand(n, 1, generator=draw) < 0.5)[:, 0].tolist()

    def reflected(i, size):
        return abs(i) if i < size else 2 * (size - 1) - i

    moved = torch.empty_like(images)
    for image in range(n):
        for y in range(height):
            for x in range(width):
                from_y = reflected(y + down[image] - shift, height)
                shown = width - 1 - x if mirrored[image] else x
                from_x = reflected(shown + right[image] - shift, width)
                moved[image, :, y, x] = images[image, :, from_y, from_x]
    return moved, mirrored


@pytest.mark.parametrize("shift", [0, 1, 4])
@pytest.mark.parametrize("seed", range(2))
def test_flip_and_shift_is_what_its_loop_does(shift, seed):
    images = pictures(seed=seed)
    found = flip_and_shift(images, shift, draw_shifts(len(images), shift, generator(seed)))
    expected, mirrored = slow_flip_and_shift(images, shift, generator(seed))
    assert found.dtype == torch.uint8 and torch.equal(found, expected)
    assert True in mirrored and False in mirrored


def test_half_are_mirrored_and_every_shift_happens():
    ramp = (torch.arange(64) * 4).to(torch.uint8).expand(2000, 3, 64, 64)
    middle = flip_and_shift(ramp, 2, draw_shifts(2000, 2, generator()))[:, 0, 0, 30:32].int()
    mirrored = middle[:, 0] > middle[:, 1]
    assert 900 < mirrored.sum() < 1100
    assert torch.bincount(middle[~mirrored][:, 0] // 4 - 28).min() > 150  # five shifts


def test_batches_hold_every_image_of_the_order_once():
    images, order = array_images(), torch.tensor([4, 0, 6, 5, 2])
    found = list(images.batches(order, 2))
    assert [ids.tolist() for ids, _, _ in found] == [[4, 0], [6, 5, 2]]
    for ids, pixels, labels in found:
        assert pixels.dtype == torch.uint8 and pixels.shape == (len(ids), 3, 16, 16)
        assert np.array_equal(pixels.permute(0, 2, 3, 1).numpy(), images.images[ids.numpy()])
        assert torch.equal(labels, images.labels[ids])


def test_augmentation_comes_from_the_generator_alone():
    images, order = array_images(), torch.arange(7)

    def epoch(seed):
        draw = None if seed is None else generator(seed)
        return torch.cat([pixels for _, pixels, _ in images.batches(order, 3, augment=draw)])

    torch.manual_seed(0)
    first = epoch(1)
    torch.manual_seed(1)
    assert torch.equal(epoch(1), first)
    assert not torch.equal(epoch(2), first) and not torch.equal(epoch(None), first)
    assert torch.equal(epoch(None), epoch(None))


def test_a_memory_mapped_array_is_never_written_to(tmp_path):
    np.save(tmp_path / "images.npy", array_images().images)
    mapped = np.load(tmp_path / "images.npy", mmap_mode="r")
    images = ArrayImages(mapped, torch.arange(7), "")
    for _, pixels, _ in images.batches(torch.arange(7), 4):
        pixels.zero_()
    assert np.array_equal(mapped, array_images().images)


@pytest.mark.parametrize(
    ("n", "size", "expected"),
    [
        (7, 3, [3, 4]),  # one image on its own has no variance
        (8, 3, [3, 3, 2]),
        (6, 3, [3, 3]),
        (1, 3, [1]),
        (3, 1, [1, 1, 1]),
        (4, 9, [4]),
    ],
)
def test_no_image_is_left_on_its_own(n, size, expected):
    order = torch.randperm(n, generator=generator())
    batches = split_batches(order, size)
    assert [len(batch) for batch in batches] == expected
    assert torch.equal(torch.cat(batches), order)
