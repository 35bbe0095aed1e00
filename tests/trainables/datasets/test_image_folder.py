"""Folders of real JPEG and PNG files: what is decoded, and how it is drawn from."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import v2

from trainables.datasets.files import files_of
from trainables.datasets.image_folder import FolderImages, find_broken


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def picture(seed=0, width=60, height=48, mode="RGB"):
    """A smooth picture: JPEG keeps it nearly as it is."""
    coarse = np.random.default_rng(seed).integers(0, 256, (5, 6, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC).convert(mode)


def save(path, image=None, kind=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    (image or picture()).save(path, kind)
    return path


def truncate(path, share=0.7):
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])


@pytest.fixture
def paths(tmp_path):
    return [
        save(tmp_path / name / f"{i}.JPEG", picture(10 * seed + i))
        for seed, name in enumerate(("n01", "n02"))
        for i in range(3)
    ]


def test_broken_are_those_that_do_not_decode_to_their_end(tmp_path):
    sound = [
        save(tmp_path / "a.JPEG"),
        save(tmp_path / "b.png"),
        save(tmp_path / "png.JPEG", kind="PNG"),  # ImageNet has one
        save(tmp_path / "cmyk.jpg", picture(mode="CMYK")),  # and these
        save(tmp_path / "grey.jpg", picture(mode="L")),
        save(tmp_path / "tail.jpg"),
    ]
    sound[-1].write_bytes(sound[-1].read_bytes() + b"after its end")
    broken = [save(tmp_path / f"short{kind}") for kind in (".JPEG", ".png", ".bmp")]
    assert find_broken(files_of([*sound, *broken]), range(9), 2) == {}
    for path in broken:
        truncate(path)
    broken += [tmp_path / "empty.jpg", tmp_path / "page.JPEG"]
    broken[-2].touch()
    broken[-1].write_text("<html>404</html>")
    told = []
    found = find_broken(files_of([*sound, *broken]), range(11), 2, lambda *n: told.append(n))
    assert list(found) == [6, 7, 8, 9, 10] and told == [(11, 11)]
    assert "truncated" in found[6] and found[10] == "of no known format"


def images_of(paths, pixels=32, workers=0):
    return FolderImages(files_of(paths), torch.arange(len(paths)) % 2, "digest", pixels, workers)


def all_pixels(images, order=None, *, batch_size=3, seed=None):
    order = torch.arange(len(images)) if order is None else order
    draw = None if seed is None else generator(seed)
    batches = list(images.batches(order, batch_size, augment=draw))
    assert torch.equal(torch.cat([ids for ids, _, _ in batches]), order)
    assert torch.equal(torch.cat([labels for _, _, labels in batches]), images.labels[order])
    return torch.cat([pixels for _, pixels, _ in batches])


@pytest.mark.parametrize("size", [(300, 260), (40, 90)])
def test_the_view_of_evaluation_is_torchvisions(tmp_path, size):
    path = save(tmp_path / "a.png", picture(3, *size))
    expected = v2.Compose([v2.Resize(256), v2.CenterCrop(224), v2.PILToTensor()])(picture(3, *size))
    found = all_pixels(images_of([path], 224))
    assert found.dtype == torch.uint8 and torch.equal(found[0], expected)


@pytest.mark.parametrize(("mode", "kind"), [("L", "JPEG"), ("CMYK", "JPEG"), ("P", "PNG")])
def test_every_mode_becomes_rgb(tmp_path, mode, kind):
    path = save(tmp_path / f"a.{kind}", picture(1, 40, 40, mode))
    found = all_pixels(images_of([path]))
    assert found.shape == (1, 3, 32, 32)
    expected = all_pixels(
        images_of([save(tmp_path / "b.png", picture(1, 40, 40, mode).convert("RGB"))])
    )
    assert (found.int() - expected.int()).abs().float().mean() < 4


def test_batches_follow_the_order(paths):
    images = images_of(paths)
    in_order = all_pixels(images)
    order = torch.tensor([5, 1, 3, 0])
    assert torch.equal(all_pixels(images, order), in_order[order])
    sizes = [len(ids) for ids, _, _ in images.batches(order, 3)]
    assert sizes == [4]  # a last image on its own joins the batch before
    assert len({image.numpy().tobytes() for image in in_order}) == 6


def test_augmentation_depends_on_the_generator_alone(paths):
    first = all_pixels(images_of(paths), seed=1)
    for workers, batch_size in ((0, 6), (2, 2)):
        torch.manual_seed(workers + 5)
        again = all_pixels(images_of(paths, workers=workers), batch_size=batch_size, seed=1)
        assert torch.equal(again, first)
    assert not torch.equal(all_pixels(images_of(paths), seed=2), first)
    assert not torch.equal(all_pixels(images_of(paths)), first)


def test_decoding_leaves_the_global_generators_alone(paths, monkeypatch):
    """Dropout draws from them: seeded by an image, it would repeat, and depend on `workers`."""
    monkeypatch.setattr(torch.cuda, "manual_seed_all", lambda _: pytest.fail("seeds the GPU"))
    after = []
    for seed in (1, 2):
        torch.default_generator.manual_seed(0)
        all_pixels(images_of(paths), seed=seed)
        after.append(torch.rand(1))
    assert torch.equal(*after)


@pytest.mark.parametrize("workers", [0, 2])
def test_an_image_that_breaks_is_named_and_one_that_changes(paths, workers):
    images = images_of(paths, workers=workers)
    truncate(paths[4])
    with pytest.raises(ValueError, match=f"^the images must stay .*, {paths[4]} has changed") as e:
        all_pixels(images)
    assert "\n" not in str(e.value)
    with pytest.raises(ValueError, match=f"^the image {paths[4]} cannot be read: .*$"):
        all_pixels(images_of(paths, workers=workers))


def test_crops_are_drawn_as_torchvision_draws_them(tmp_path):
    """The mean place of a bright column in many crops; which is mirrored in half of them."""
    ramp = np.tile(np.linspace(0, 255, 60, dtype=np.uint8), (48, 1))
    path = save(tmp_path / "ramp.png", Image.fromarray(np.dstack([ramp] * 3)))
    images = images_of([path] * 400, 16)
    ours = all_pixels(images, seed=1, batch_size=100).float()
    theirs = v2.Compose([v2.RandomResizedCrop(16), v2.RandomHorizontalFlip(), v2.PILToTensor()])
    torch.manual_seed(0)
    expected = torch.stack([theirs(Image.open(path)) for _ in range(400)]).float()
    for measure in (lambda x: x.mean((1, 2, 3)), lambda x: (x[..., -1] - x[..., 0]).mean((1, 2))):
        a, b = measure(ours), measure(expected)
        assert abs(a.mean() - b.mean()) < 4 * (a.var() / 400 + b.var() / 400) ** 0.5
        assert 0.85 < a.std() / b.std() < 1.18


def test_no_other_process_decodes(paths, monkeypatch):
    """Bug report F08: processes hand pictures over in /dev/shm, of which a container has 64 MB."""
    monkeypatch.setattr("os.fork", lambda: pytest.fail("another process"))
    monkeypatch.setattr("multiprocessing.Process.start", lambda _: pytest.fail("another process"))
    assert len(all_pixels(images_of(paths, workers=4), seed=0)) == 6


@pytest.mark.slow
def test_threads_decode_where_there_is_hardly_any_shared_memory(paths):
    """Bug report F08: with Docker's /dev/shm it waited for ever. Here with less than a batch."""
    code = (
        "import sys, torch; from pathlib import Path;"
        "from trainables.datasets.files import files_of;"
        "from trainables.datasets.image_folder import FolderImages;"
        "files = files_of([Path(p) for p in sys.argv[1:]]);"
        "images = FolderImages(files, torch.zeros(len(files)), 'd', 224, workers=8);"
        "print(sum(len(ids) for ids, _, _ in images.batches(torch.arange(len(files)), 6)))"
    )
    mount = 'mount -t tmpfs -o size=64k tmpfs /dev/shm && exec "$0" "$@"'
    inside = ["unshare", "--mount", "sh", "-c", mount]
    if subprocess.run([*inside[:-1], "true"], capture_output=True).returncode:
        pytest.skip("/dev/shm cannot be made small here")
    done = subprocess.run(
        [*inside, sys.executable, "-c", code, *map(str, paths)],
        capture_output=True,
        text=True,
        timeout=300,
    )
    if "mount:" in done.stderr:
        pytest.skip("/dev/shm cannot be made small here")
    assert done.stdout.strip() == "6", done.stderr
