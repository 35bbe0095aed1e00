"""Images in an object store, by pyarrow's own file systems; file:// stands for s3:// and gs://."""

import multiprocessing
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from sweeps.plan.planner import make_plan
from sweeps.studies import load_study
from trainables.config import DataConfig
from trainables.datasets.loading import load_data
from trainables.datasets.packs import unused
from trainables.datasets.remote import fetched, remote_counts, remote_digest


@pytest.fixture
def store(tmp_path):
    """A folder of 2 classes, with what does not belong to it, too."""
    random = np.random.default_rng(0)
    root = tmp_path / "store" / "images"
    for split in ("train", "val"):
        for name in ("owl", "newt", "ox 1"):
            (root / split / name).mkdir(parents=True)
            for n in range(4):
                pixels = random.integers(0, 256, (40, 50, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(root / split / name / f"{n}.png")
    (root / "train" / "owl" / "notes.txt").write_text("x")
    (root / "test" / "owl").mkdir(parents=True)
    shutil.copy(root / "train" / "owl" / "0.png", root / "test" / "owl" / "0.png")
    return root


def config(path, **more):
    counts = {"train_images": None, "val_images": None, "probe_images": 5}
    return DataConfig(name="image_folder", path=str(path), pixels=32, **counts, **more)


def files(folder):
    return sorted(str(f.relative_to(folder)) for f in folder.rglob("*.png"))


def test_the_digest_of_a_store_sees_what_was_written_anew(store):
    """Bug report F04: equal names and sizes, other pictures."""
    digests = [remote_digest(store.as_uri())]
    assert remote_digest(store.as_uri()) == digests[0]
    path = store / "train" / "owl" / "1.png"
    data = bytearray(path.read_bytes())
    data[50] ^= 1
    path.write_bytes(data)
    digests.append(remote_digest(store.as_uri()))
    path.unlink()
    digests.append(remote_digest(store.as_uri()))
    assert len(set(digests)) == 3


def test_what_a_folder_would_not_read_is_not_copied(store, tmp_path):
    """Hidden and system folders, sub folders, names that lead out of the copy."""
    before = remote_digest(store.as_uri())
    for name in (".ipynb_checkpoints/0.png", "__MACOSX/0.png", "owl/.x.png", "owl/x.gif"):
        target = store / "train" / name
        target.parent.mkdir(exist_ok=True)
        shutil.copy(store / "train" / "owl" / "0.png", target)
    assert remote_digest(store.as_uri()) == before
    (store / "train" / "owl" / "deep").mkdir()
    shutil.copy(store / "train" / "owl" / "0.png", store / "train" / "owl" / "deep" / "é \n.png")
    digest = remote_digest(store.as_uri())
    copy = fetched(store.as_uri(), digest, tmp_path / "copy")
    assert len(files(copy)) == 25 and (copy / "train" / "owl" / "deep" / "é \n.png").is_file()
    classes = tuple(sorted(path.name for path in (copy / "val").iterdir()))
    assert len(classes) == 3 and remote_counts(store.as_uri()) == (
        classes,
        {"train": (4, 5, 4), "val": (4, 4, 4)},
    )


def test_a_copy_knows_what_was_written_anew(store, tmp_path):
    """A copy that was cut off kept what had the right size."""
    uri, path = store.as_uri(), store / "train" / "owl" / "1.png"
    old = fetched(uri, remote_digest(uri), tmp_path / "copy")
    data = bytearray(path.read_bytes())
    data[50] ^= 1
    path.write_bytes(data)
    digest = remote_digest(uri)
    assert f"fetched-{digest}" != old.name
    new = tmp_path / "copy" / f"fetched-{digest}"
    old.rename(new)
    (new / "complete").unlink()
    copy = fetched(uri, digest, tmp_path / "copy")
    assert (copy / "train" / "owl" / "1.png").read_bytes() == data


def test_an_older_copy_is_found(store, tmp_path):
    uri, root = store.as_uri(), tmp_path / "copies"
    old = fetched(uri, remote_digest(uri), root)
    assert unused(root) == {}
    (store / "train" / "owl" / "1.png").write_bytes(b"another")
    new = fetched(uri, remote_digest(uri), root)
    foreign = root / ("fetched-" + "0" * 16)
    foreign.mkdir()
    (foreign / "thesis.tex").touch()
    (root / ("fetched-" + "1" * 16)).symlink_to(new)
    found = unused(root)
    assert list(found) == [old] and found[old] > 0
    shutil.rmtree(old)
    assert unused(root) == {} and len(files(new)) == 24


def test_the_images_are_those_of_the_folder_and_each_node_copies_them_once(
    store, tmp_path, monkeypatch
):
    cache = tmp_path / "cache"
    here = load_data(config(store), cache)
    for node in ("node0", "node1"):
        monkeypatch.setenv("SECATEUR_NODE_CACHE", str(tmp_path / node))
        there = load_data(config(store.as_uri(), packed=37), cache)
        plain = load_data(config(store.as_uri()), cache)
        for split in ("train", "val", "probe"):
            mine, others = getattr(here, split), getattr(plain, split)
            assert torch.equal(mine.labels, others.labels)
            order = torch.arange(len(mine))
            packed = getattr(there, split).batches(order, 5)
            for one, two, three in zip(
                mine.batches(order, 5), others.batches(order, 5), packed, strict=True
            ):
                assert torch.equal(one[1], two[1]) and torch.equal(one[1], three[1])
        (copy,) = (tmp_path / node).glob("fetched-*")
        assert len(files(copy)) == 24 and list((tmp_path / node).glob("packs/*"))
    assert not list(cache.glob("fetched-*")) and not list(cache.glob("packs/*.pixels"))
    shutil.rmtree(store)  # nothing is asked for again
    again = load_data(config(store.as_uri(), digest=copy.name.removeprefix("fetched-")), cache)
    assert again.train.digest == plain.train.digest


def fetch(uri, digest, root, told):
    told.put(fetched(uri, digest, root))


def test_a_copy_that_was_cut_off_goes_on_and_several_wait_for_one(store, tmp_path):
    uri, digest = store.as_uri(), remote_digest(store.as_uri())
    folder = fetched(uri, digest, tmp_path / "whole")
    broken = tmp_path / "broken" / folder.name
    shutil.copytree(folder, broken)
    (broken / "complete").unlink()
    kept = broken / "val" / "newt" / "2.png"
    kept_at = kept.stat().st_mtime_ns
    (broken / "train" / "owl" / "1.png").write_bytes(b"half")
    shutil.rmtree(broken / "val" / "owl")
    context = multiprocessing.get_context("fork")
    told = context.Queue()
    processes = [
        context.Process(target=fetch, args=(uri, digest, tmp_path / "broken", told))
        for _ in range(3)
    ]
    for process in processes:
        process.start()
    assert {told.get(timeout=60) for _ in processes} == {broken}
    for process in processes:
        process.join()
    assert files(broken) == files(folder) and kept.stat().st_mtime_ns == kept_at
    for name in files(folder):
        assert (broken / name).read_bytes() == (folder / name).read_bytes()


@pytest.mark.parametrize("uri", ["file:///no/such/folder", "nonsense://bucket/x", "s3:/x://"])
def test_a_store_that_cannot_be_read_is_refused(uri):
    with pytest.raises(ValueError, match="must be readable, it is not"):
        remote_digest(uri)


def test_a_store_that_has_changed_since_the_plan_is_refused(store, tmp_path):
    digest = remote_digest(store.as_uri())
    (store / "val" / "owl" / "new.png").write_bytes(b"new")
    with pytest.raises(ValueError, match="must stay as they were when the sweep was planned"):
        fetched(store.as_uri(), digest, tmp_path / "copy")


def test_a_store_without_images_is_refused(tmp_path):
    with pytest.raises(ValueError, match="must hold train/ and val/"):
        remote_digest(tmp_path.as_uri())


def test_a_plan_takes_a_uri(store):
    """A store is known by sizes and times: it is not read for a plan, as a folder is."""
    small = {"score.n_tasks": 1, "score.n_explanations": 1, "network.recipe.epochs": 1}
    there = make_plan(load_study("paper"), data=store.as_uri(), settings=small)
    assert {c.data.path for c in there.configs} == {store.as_uri()}
    assert {c.data.digest for c in there.configs} == {remote_digest(store.as_uri())}
    assert "3 classes, 12 images in train/ and 12 in val/" in there.inputs.sentences[0]
    here = make_plan(load_study("paper"), data=str(store), settings=small)
    assert len(here.keys) == len(there.keys) and not set(here.keys) & set(there.keys)
