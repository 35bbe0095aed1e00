"""The atlas of units as files: what it holds, how much of it, and what it does without."""

import base64
import io
import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from atlas_sweeps import DATA, few, logged
from PIL import Image
from report_frames import of_network, synthetic, together
from rich.console import Console

from sweeps.housekeeping import disk
from sweeps.plan.atlas import Atlas
from sweeps.report import report_study
from sweeps.report.atlas.chosen import candidates, made_of, same_units, units_of
from sweeps.report.atlas.examples import N_EXAMPLES, examples_of
from sweeps.report.atlas.images import used_images
from sweeps.report.atlas.maps import mapped
from sweeps.report.atlas.of_trials import leave_pages
from sweeps.report.atlas.one_file import Part
from sweeps.report.atlas.scripts import smallest, write_script
from sweeps.report.atlas.thumbnails import (
    ACROSS,
    Sizes,
    write_thumbnails,
)
from sweeps.report.atlas.trials import start
from sweeps.report.atlas.write import FOLDER, PAGE, Made, write_atlas
from sweeps.report.files import report_folder, written
from sweeps.report.read.frames import latest_sweep, load_frames
from trainables.datasets.concept_maps import generated_concepts
from trainables.datasets.images import ArrayImages
from trainables.datasets.loading import load_data, probe_images
from trainables.scores.shown import Shown
from trainables.scores.unit_maps import LayerMaps


def quiet():
    return Console(file=io.StringIO())


def read_script(path):
    """(name, value) of a script of data, its arrays as numpy's."""
    kinds = {"Uint8Array": "u1", "Uint16Array": "<u2", "Uint32Array": "<u4"}
    kinds |= {"Int16Array": "<i2", "Float32Array": "<f4"}
    text = path.read_text(encoding="ascii")
    whole = re.fullmatch(r"Atlas\.take\((\"[a-z0-9-]+\"),(.*)\);\n", text, re.DOTALL)
    value = json.loads(whole[2])
    for name, each in value.items():
        if isinstance(each, dict) and "kind" in each:
            value[name] = np.frombuffer(base64.b64decode(each["data"]), kinds[each["kind"]])
    return json.loads(whole[1]), value


@pytest.fixture(scope="module")
def frames():
    return few()


@pytest.fixture(scope="module")
def made(frames, tmp_path_factory):
    """The folder of a report with an atlas, its tracker, its frames."""
    folder = tmp_path_factory.mktemp("atlas")
    tracker = logged(frames, folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sweeps.report.write.write_sections", lambda *_: [])  # elsewhere
        assert report_study("synthetic", folder / "results", None, quiet()) == 0
    return report_folder(folder / "results", "synthetic"), tracker, frames


def test_the_atlas_is_part_of_the_report_and_the_page_leads_to_it(made):
    folder, _, frames = made
    names = written(folder)
    assert {PAGE, f"{FOLDER}/about.js", f"{FOLDER}/main.js", f"{FOLDER}/images-0000.jpg"} <= set(
        names
    )
    page = (folder / "report.html").read_text()
    assert 'href="atlas.html"' in page
    for key in frames.trials["key"]:
        assert f'href="atlas.html#b={key}"' in page


@pytest.mark.slow
def test_networks_that_a_sweep_compares_have_an_atlas_each(frames, tmp_path, monkeypatch):
    """Their units are not the same: those of the second network were nowhere to be seen."""
    both = together(of_network(frames, "vgg16"), of_network(frames, "alexnet"))
    tracker = logged(both, tmp_path)
    monkeypatch.setattr("sweeps.report.write.write_sections", lambda *_: [])
    assert report_study("synthetic", tmp_path / "results", None, quiet()) == 0
    folder = report_folder(tmp_path / "results", "synthetic")
    page = (folder / "report.html").read_text()
    for name in ("vgg16", "alexnet"):
        path = f"atlas-{name}/{PAGE}"
        assert {path, f"atlas-{name}/{FOLDER}/about.js"} <= set(written(folder))
        assert f'href="{path}" target="atlas">The atlas of units of {name}</a>' in page
        assert '<a href="../report.html">' in (folder / path).read_text()
        _, about = read_script(folder / f"atlas-{name}" / FOLDER / "about.js")
        keys = set(both.trials.loc[both.trials["network.name"] == name, "key"])
        assert {trial["key"] for trial in about["trials"]} == keys
        for key in keys:
            assert f'href="{path}#b={key}"' in page
    for run in tracker.finished().values():
        (own,) = [a for a in tracker.client.list_artifacts(run.info.run_id) if a.path == PAGE]
        text = Path(tracker.client.download_artifacts(run.info.run_id, own.path)).read_text()
        assert run.info.run_name in text and "report.html" not in text
    assert report_study("synthetic", tmp_path / "results", None, quiet()) == 0
    monkeypatch.setattr("sweeps.report.atlas.of_pairs.split", lambda frames: {"": frames})
    assert report_study("synthetic", tmp_path / "results", None, quiet()) == 0
    assert not list(folder.glob("atlas-*")) and (folder / PAGE).is_file()


def test_scores_and_images_of_each_trial_are_those_that_it_left(made):
    folder, _, frames = made
    _, about = read_script(folder / FOLDER / "about.js")
    n_units = sum(layer["n"] for layer in about["layers"])
    assert [layer["name"] for layer in about["layers"]] == list(frames.units["layer"].unique())
    assert about["trials"][0]["label"] == "dense" and about["start"][0] == 0
    assert [score["name"] for score in about["scores"]] == ["mis", "iou"]
    for place, trial in enumerate(about["trials"]):
        _, scores = read_script(folder / FOLDER / f"scores-{place:03}.js")
        units = frames.units[frames.units["key"] == trial["key"]]
        assert len(scores["state"]) == n_units == len(units)
        assert np.allclose(scores["mis"], units["mis"].astype(np.float32), equal_nan=True)
        states = [about["states"][code] for code in scores["state"]]
        assert states == list(units["state"])
        found = units.merge(
            frames.dissected[frames.dissected["key"] == trial["key"]],
            on=["layer", "channel"],
            how="left",
        )
        iou = found["iou"].mask(units["state"].to_numpy() == "dead")  # which detect nothing
        assert np.allclose(scores["iou"], iou.astype(np.float32), equal_nan=True)
        named = [None if c < 0 else about["concepts"][c]["name"] for c in scores["concept"]]
        assert named == [None if pd.isna(c) else c for c in found["concept"]]
        _, images = read_script(folder / FOLDER / f"images-{place:03}.js")
        assert images["n"] == 9 and len(images["top"]) == 9 * n_units


def test_a_picture_of_a_sheet_is_the_image_of_its_number(made):
    folder, tracker, _ = made
    _, about = read_script(folder / FOLDER / "about.js")
    probe, classes = probe_images(DATA, tracker.results / "cache")
    assert about["classes"] == list(classes) and about["sheets"]["side"] == 32
    assert (about["labels"] == probe.labels.numpy()[about["ids"]]).all()
    for place in (0, 7, 8, 63, 64, 199):
        sheet = np.asarray(Image.open(folder / FOLDER / about["sheets"]["images"][place // 64]))
        y, x = divmod(place % 64, ACROSS)
        picture = sheet[32 * y : 32 * y + 32, 32 * x : 32 * x + 32].astype(float)
        image = probe.images[about["ids"][place]].astype(float)
        assert np.abs(picture - image).mean() < 12  # JPEG
        other = probe.images[about["ids"][(place + 1) % 200]].astype(float)
        assert np.abs(picture - image).mean() < np.abs(picture - other).mean()


def page_of(tracker, run, folder):
    """The text of the page that a trial's run has of its own; None where it has none."""
    there = [file.path for file in tracker.client.list_artifacts(run.info.run_id)]
    if PAGE not in there:
        return None
    return Path(tracker.client.download_artifacts(run.info.run_id, PAGE, folder)).read_text()


def test_each_trial_has_a_page_of_its_own_in_mlflow_in_one_file(made, tmp_path):
    folder, tracker, frames = made
    _, whole = read_script(folder / FOLDER / "about.js")
    runs = tracker.finished()
    assert set(runs) == set(frames.trials["key"])
    for place, trial in enumerate(whole["trials"]):
        text = page_of(tracker, runs[trial["key"]], tmp_path)
        assert not re.search(r"(src|href)=\"(?!data:)", text)
        taken = r"^(?:<script>)?Atlas\.take\(\"([a-z0-9-]+)\",(.*)\);(?:</script>)?$"
        scripts = dict(re.findall(taken, text, re.MULTILINE))
        about = json.loads(scripts.pop("about"))
        assert [t["key"] for t in about["trials"]] == list(
            dict.fromkeys([whole["trials"][0]["key"], trial["key"]])
        )
        assert about["start"] == [0, len(about["trials"]) - 1]
        for number, source in enumerate(dict.fromkeys([0, place])):
            for kind in ("scores", "images"):
                kept = (folder / FOLDER / f"{kind}-{source:03}.js").read_text()
                assert scripts.pop(f"{kind}-{number:03}") in kept
        assert scripts == {}
        for held, name in zip(about["sheets"]["images"], whole["sheets"]["images"], strict=True):
            there = (folder / FOLDER / name).read_bytes()
            assert base64.b64decode(held.partition("base64,")[2]) == there


def test_a_page_stands_beside_the_dense_network_that_its_own_was_made_of():
    trials = synthetic(seeds=(0,), methods=("structured",), rates=(0.5,)).trials
    of_five = trials.assign(key=trials["key"] + "b", **{"network.recipe.epochs": "5"})
    both = pd.concat([trials.assign(**{"network.recipe.epochs": "2"}), of_five], ignore_index=True)
    is_dense = (both["method"] == "dense") & (both["retraining"] == "none")
    found = made_of(both, both["key"].tolist())
    assert is_dense.sum() == 2 and set(found.values()) == set(both.loc[is_dense, "key"])
    assert all(key.endswith("b") == dense.endswith("b") for key, dense in found.items())
    alone = made_of(both, both.loc[~is_dense, "key"].tolist())
    assert all(key == own for key, own in alone.items())


def test_a_page_is_sent_again_when_it_is_another_and_no_other_time(made, monkeypatch, tmp_path):
    _, tracker, _ = made
    sent = []
    really = tracker.client.log_artifact

    def log_artifact(run_id, path, into=None):
        sent.append(Path(path).name)
        return really(run_id, path, into)

    monkeypatch.setattr(tracker.client, "log_artifact", log_artifact)
    keep = tmp_path / "keep"
    keep.mkdir()
    frames = load_frames(tracker, latest_sweep(tracker, None), keep)

    def leave(folder, limits):
        folder.mkdir()
        made = write_atlas(frames, tracker, folder, limits)
        assert leave_pages(tracker, made, folder) == ""
        return made

    leave(tmp_path / "a", Atlas())
    assert sent == []
    none = leave(tmp_path / "b", Atlas(trial_megabytes=0))
    assert none.pages == {} and sent == []
    leave(tmp_path / "c", Atlas(trials=2, maps=0, layers=("conv1",)))
    assert sent == [PAGE] * 2
    leave(tmp_path / "d", Atlas())
    assert sent == [PAGE] * 4


def test_pages_that_would_be_too_large_are_none_and_the_report_says_so(made, tmp_path, monkeypatch):
    _, tracker, _ = made
    (tmp_path / "keep").mkdir()
    frames = load_frames(tracker, latest_sweep(tracker, None), tmp_path / "keep")
    monkeypatch.setattr("sweeps.report.atlas.write.most_bytes", lambda *_: 12.6e6)
    (tmp_path / "a").mkdir()
    made = write_atlas(frames, tracker, tmp_path / "a", Atlas())
    assert made.pages == {} and made.keys
    assert "No trial has an atlas of its own in MLflow: its page would take 13 MB" in made.said


def test_a_server_that_takes_no_page_is_named_and_the_others_are_not_sent(made, monkeypatch):
    folder, tracker, _ = made
    asked = []

    def refused(client, run_id, *_, **__):
        asked.append(run_id)
        yield PAGE, f"{PAGE} (2.0 MB): 413 Request Entity Too Large"

    monkeypatch.setattr("sweeps.report.atlas.of_trials.upload", refused)
    monkeypatch.setattr("sweeps.report.atlas.of_trials.digest_of", lambda _: "another")
    runs = [run.info.run_id for run in tracker.finished().values()]
    about = {"trials": [{}] * 2, "sheets": {"images": [], "lit": []}, "concepts": []}
    pages = {run: [Part(0, (), ())] for run in runs}
    made = Made(frozenset(), "", pages, about)
    assert "413" in leave_pages(tracker, made, folder)
    assert len(asked) == 1


def test_what_it_keeps_in_the_cache_is_known_to_housekeeping(made):
    _, tracker, _ = made
    kept = [p.name for p in (tracker.results / "cache").iterdir() if "thumbnails" in p.name]
    assert kept and {disk.in_cache(name) for name in kept} == {disk.IMAGES}
    assert disk.in_cache("unit-maps-0123456789abcdef.pt") == disk.IMAGES


def test_a_report_that_is_made_again_finds_its_pictures(made, monkeypatch, tmp_path):
    _, tracker, _ = made

    def read(*_):
        raise AssertionError("no image is read again")

    frames = load_frames(tracker, latest_sweep(tracker, None))
    monkeypatch.setattr("sweeps.report.atlas.thumbnails.small_pictures", read)
    monkeypatch.setattr(Sizes, "largest", lambda *_: 32)
    assert write_atlas(frames, tracker, tmp_path, Atlas()).keys


@pytest.mark.parametrize(
    ("atlas", "said"),
    [
        (Atlas(trials=2), "2 of 7 networks"),
        (Atlas(layers=("no such",)), "no such are none"),
        (Atlas(megabytes=0), "atlas.megabytes=0"),
    ],
)
def test_limits_of_the_study_hold_and_are_said(made, atlas, said, tmp_path):
    _, tracker, _ = made
    frames = load_frames(tracker, latest_sweep(tracker, None))
    found = write_atlas(frames, tracker, tmp_path, atlas)
    assert said in found.said
    assert (tmp_path / PAGE).exists() == bool(found.keys) == (atlas.trials == 2)
    if atlas.trials == 2:
        assert len(found.keys) == len(list((tmp_path / FOLDER).glob("scores-*"))) == 2


def test_networks_that_have_no_room_are_left_out_from_the_last(made, tmp_path, monkeypatch):
    _, tracker, frames = made
    frames = load_frames(tracker, latest_sweep(tracker, None))
    n = len(frames.trials)
    monkeypatch.setattr(
        Sizes, "largest", lambda _, n, room: 32 if room > 0.9 * (1e6 - 300 * 120) else None
    )
    found = write_atlas(frames, tracker, tmp_path, Atlas(megabytes=1, maps=0))
    assert 2 <= len(found.keys) < n and "have no room in atlas.megabytes=1" in found.said
    files = {path.name for path in (tmp_path / FOLDER).glob("*-*.js")}
    wanted = [f"{kind}-{i:03}.js" for kind in ("scores", "images") for i in range(len(found.keys))]
    assert files == set(wanted)
    _, about = read_script(tmp_path / FOLDER / "about.js")
    assert {trial["key"] for trial in about["trials"]} == found.keys


def test_no_atlas_is_made_where_none_is_wanted(made, tmp_path):
    _, tracker, _ = made
    frames = load_frames(tracker, latest_sweep(tracker, None))
    assert write_atlas(frames, tracker, tmp_path, Atlas(trials=0)).said == ""
    assert list(tmp_path.iterdir()) == []


def test_layers_are_chosen_by_name(made, tmp_path):
    _, tracker, _ = made
    frames = load_frames(tracker, latest_sweep(tracker, None))
    write_atlas(frames, tracker, tmp_path, Atlas(layers=("inception3a.branch1",)))
    _, about = read_script(tmp_path / FOLDER / "about.js")
    assert about["layers"] == [{"name": "inception3a.branch1", "n": 6}]
    _, scores = read_script(tmp_path / FOLDER / "scores-000.js")
    units = frames.units[frames.units["key"] == about["trials"][0]["key"]]
    mine = units[units["layer"] == "inception3a.branch1"]
    assert np.allclose(scores["mis"], mine["mis"].astype(np.float32), equal_nan=True)


@pytest.mark.slow
def test_trials_of_earlier_versions_are_named_and_the_others_shown(frames, tmp_path):
    old = list(frames.trials["key"])[-2:]
    tracker = logged(frames, tmp_path, without=old)
    loaded = load_frames(tracker, latest_sweep(tracker, None))
    found = write_atlas(loaded, tracker, tmp_path / "report", Atlas())
    assert found.keys == set(frames.trials["key"]) - set(old)
    assert "2 networks" in found.said and "earlier version" in found.said


def test_a_sweep_without_any_images_has_a_report_that_says_so(frames, tmp_path, monkeypatch):
    logged(frames, tmp_path, without=list(frames.trials["key"]))
    monkeypatch.setattr("sweeps.report.write.write_sections", lambda *_: [])
    assert report_study("synthetic", tmp_path / "results", None, quiet()) == 0
    folder = report_folder(tmp_path / "results", "synthetic")
    page = (folder / "report.html").read_text()
    assert "There is no atlas of units: no trial kept" in page and "atlas.html" not in page
    assert not (folder / PAGE).exists()


@pytest.mark.slow
@pytest.mark.parametrize("spoil", ["gone", "other", "config"])
def test_images_that_are_not_here_are_no_atlas_and_a_sentence(frames, tmp_path, spoil):
    tracker = logged(frames, tmp_path)
    (run,) = [r for r in tracker.finished().values() if r.info.run_name == "dense"]
    config = tmp_path / "config.json"
    said = {"data.name": "image_folder", "data.path": str(tmp_path / "nowhere")}
    if spoil == "other":  # the same kind, drawn by another seed
        said = {"data.seed": 5, "data.pixels": 32, "data.probe_images": 200}
    config.write_text("nonsense" if spoil == "config" else json.dumps(said))
    tracker.client.log_artifact(run.info.run_id, str(config))
    loaded = load_frames(tracker, latest_sweep(tracker, None))
    found = write_atlas(loaded, tracker, tmp_path / "report", Atlas())
    assert not found.keys and found.said.startswith("There is no atlas of units: the images")
    assert not (tmp_path / "report" / PAGE).exists()


def test_maps_are_of_the_two_that_are_shown_first_and_of_each_method(frames):
    frames = few(methods=("structured", "connection"), rates=(0.25, 0.5, 0.75))
    keys, _ = candidates(frames.trials, Atlas())
    trials = frames.trials.set_index("key", drop=False)
    opened = [keys[place] for place in start(frames, keys)]
    chosen = mapped(frames, keys, 3)
    assert chosen[:2] == opened and trials.loc[opened[0], "label"] == "dense"
    for key in chosen[1:]:
        row = trials.loc[key]
        assert row["retraining"] == "finetune" and row["rate"] == 0.5
    assert set(trials.loc[chosen[1:], "method"]) == {"structured", "connection"}
    assert set(mapped(frames, keys, 99)) == set(keys) and mapped(frames, keys, 0) == []


def test_networks_that_left_nothing_that_loads_are_without_maps_and_said(made, tmp_path):
    _, tracker, _ = made
    frames = load_frames(tracker, latest_sweep(tracker, None))
    found = write_atlas(frames, tracker, tmp_path, Atlas(maps=1))
    assert (
        found.keys
        and "1 networks have no maps, the first: a trial must have left its network" in found.said
    )
    _, about = read_script(tmp_path / FOLDER / "about.js")
    assert not any(trial["maps"] for trial in about["trials"])


def test_maps_are_found_by_the_number_of_their_unit(made, tmp_path, monkeypatch):
    """The page's arithmetic: of a unit of a layer, image by image, cells in halves of bytes."""
    _, tracker, _ = made
    frames = load_frames(tracker, latest_sweep(tracker, None))
    sides = {"conv1": 3, "inception3a.branch1": 2}

    def fake(network, images, wanted, pixels):
        random = np.random.default_rng(0)
        return {
            name: LayerMaps(random.random((*wanted[name].shape, n, n)), 0.1, 0.2)
            for name, n in sides.items()
        }

    monkeypatch.setattr("sweeps.report.atlas.maps.unit_maps", fake)
    monkeypatch.setattr("sweeps.report.atlas.maps.masked_network", lambda *_: torch.nn.Identity())
    write_atlas(frames, tracker, tmp_path, Atlas(maps=1))
    _, about = read_script(tmp_path / FOLDER / "about.js")
    _, maps = read_script(tmp_path / FOLDER / "maps-000.js")
    assert [trial["maps"] for trial in about["trials"]].count(True) == 1
    random, n = np.random.default_rng(0), 9
    for name, side in sides.items():
        expected = random.random((6, n, side, side))
        layer = maps["layers"][[each["name"] for each in about["layers"]].index(name)]
        assert (layer["side"], layer["first"], layer["step"]) == (side, 0.1, 0.2)
        for unit, image in ((0, 0), (3, 8), (5, 4)):
            start = layer["begin"] + (unit * n + image) * side * side
            cells = [
                (maps["cells"][c >> 1] >> (4 * (c & 1))) & 15 for c in range(start, start + side**2)
            ]
            whole = expected[unit, image] / expected[unit].max() * 15
            assert (np.array(cells) == whole.round().ravel()).all()
    others = [each["side"] for each in maps["layers"]]
    assert sum(side > 0 for side in others) == 2


@pytest.mark.slow
def test_code_of_ones_own_is_not_run_but_from_the_copy_of_the_sweep(frames, tmp_path):
    tracker = logged(frames, tmp_path)
    (run,) = [r for r in tracker.finished().values() if r.info.run_name == "dense"]
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"data.name": "shutil:rmtree", "data.code": "0" * 16}))
    tracker.client.log_artifact(run.info.run_id, str(config))
    loaded = load_frames(tracker, latest_sweep(tracker, None))
    found = write_atlas(loaded, tracker, tmp_path / "report", Atlas())
    assert "the code of shutil:rmtree is not in" in found.said


def test_names_cannot_end_a_script(tmp_path):
    name = "</script><script>alert(1)</script> \u2028 <!-- &amp; \"'\\"
    write_script(tmp_path / "a.js", "about", {"name": name, "n": np.arange(3, dtype=np.uint8)})
    text = (tmp_path / "a.js").read_text(encoding="ascii")
    assert not set("<>&\u2028") & set(text)
    assert read_script(tmp_path / "a.js")[1]["name"] == name
    with pytest.raises(TypeError, match="holds no"):
        write_script(tmp_path / "b.js", "about", {"n": np.arange(3.0)})
    assert [smallest(np.array([n])).dtype.itemsize for n in (255, 256, 65535, 65536)] == [
        *(1, 2, 2, 4)
    ]


def test_the_first_seed_is_shown_the_controls_last(frames):
    trials = few(seeds=(0, 1), controls=True).trials
    keys, said = candidates(trials, Atlas(trials=5))
    chosen = trials.set_index("key").loc[keys]
    assert set(chosen["seed"]) == {0} and len(keys) == 5
    assert list(chosen["method"].iloc[:3]) == ["dense", "dense", "untrained"]
    assert not (chosen["criterion"] == "random").any()
    assert any("first of 2 seeds" in sentence for sentence in said)


def test_networks_with_other_units_or_images_are_left_out_and_named():
    def shown(n, digest="d"):
        ids = np.zeros((n, 1), np.int32)
        return Shown(["a"] * n, np.arange(n, dtype=np.int32), ids, ids, digest)

    found = {"x": shown(3), "y": shown(2), "z": shown(3, "e")}
    kept, said = same_units(found, {"x": "X", "y": "Y", "z": "Z"})
    assert list(kept) == ["x"] and len(said) == 2
    assert "(Y) have other units" in said[0] and "(Z) were asked about other images" in said[1]
    odd = Shown(["a", "a"], np.array([1, 0], np.int32), *[np.zeros((2, 1), np.int32)] * 2, "d")
    with pytest.raises(ValueError, match="numbered from 0"):
        units_of(odd, Atlas())


def test_pictures_get_smaller_until_they_fit():
    images = np.random.default_rng(0).integers(0, 256, (70, 96, 96, 3), dtype=np.uint8)
    sizes = Sizes(ArrayImages(images, torch.zeros(70, dtype=torch.int64), "noise"))
    assert [sizes.largest(70, 70 * sizes.each(side)) for side in (96, 64, 48, 32)] == [
        *(96, 64, 48, 32)
    ]
    assert sizes.largest(70, 10) is None
    small = Sizes(ArrayImages(images[:, :50, :50], torch.zeros(70, dtype=torch.int64), "noise"))
    assert small.largest(70, 1e9) == 48  # no larger than the images


def test_all_images_are_shown_where_most_are_and_else_those_of_some_unit():
    probe = ArrayImages(np.zeros((10, 2, 2, 3), np.uint8), torch.zeros(10, dtype=int), "d")
    assert used_images(probe, np.array([[7, 1]])).tolist() == [1, 7]
    assert used_images(probe, np.arange(6)).tolist() == list(range(10))
    with pytest.raises(ValueError, match="below 10"):
        used_images(probe, np.array([10]))


def test_sheets_are_read_row_by_row(tmp_path):
    images = np.zeros((130, 32, 32, 3), np.uint8)
    images[:, ..., 0] = np.arange(130)[:, None, None]
    probe = ArrayImages(images, torch.zeros(130, dtype=int), "d")
    (tmp_path / "out").mkdir()
    ids = torch.arange(129, -1, -1)
    names = write_thumbnails(tmp_path / "out", "x", probe, ids, 32, tmp_path / "cache")
    sizes = [Image.open(tmp_path / "out" / name).size for name in names]
    assert sizes == [(256, 256), (256, 256), (256, 32)]
    last = np.asarray(Image.open(tmp_path / "out" / names[2]))
    assert abs(int(last[16, 16, 0]) - 1) < 4 and abs(int(last[16, 48, 0]) - 0) < 4


def test_examples_show_most_of_their_concept_and_dim_the_rest(tmp_path):
    source = generated_concepts(DATA, tmp_path)
    wanted = [("texture", "stripes"), ("scene", "sky"), ("no such", "thing")]
    wanted[0] = ("texture", source.spec.names[source.spec.category.index("texture")])
    wanted[1] = ("scene", source.spec.names[source.spec.category.index("scene")])
    places, pictures = examples_of(source, wanted, 32)
    assert [len(each) for each in places] == [N_EXAMPLES, N_EXAMPLES, 0]
    assert sorted(sum(places, [])) == list(range(len(pictures)))
    number = source.spec.names.index(wanted[0][1])
    shares, images = [], []
    for _, pixels, pixel_labels, _ in source.batches(64):
        lit = (pixel_labels == number + 1).any(1)
        shares += lit.double().mean((1, 2)).tolist()
        images += list(zip(pixels, lit, strict=True))
    order = np.argsort(-np.array(shares), kind="stable")[:N_EXAMPLES]
    for place, image in zip(places[0], order, strict=True):
        pixels, lit = images[image]
        whole = pixels.permute(1, 2, 0).numpy()
        assert (pictures[place][lit.numpy()] == whole[lit.numpy()]).all()
        if (~lit).any():
            outside = ~lit.numpy()
            assert pictures[place][outside].mean() < 0.4 * max(1.0, whole[outside].mean())


def test_probe_images_alone_are_those_of_all_three_sets(tmp_path):
    probe, classes = probe_images(DATA, tmp_path)
    data = load_data(DATA, tmp_path)
    assert probe.digest == data.probe.digest and classes == data.class_names
    assert (probe.images == data.probe.images).all() and (probe.labels == data.probe.labels).all()


@pytest.mark.parametrize("field", ["trials", "megabytes", "maps", "trial_megabytes"])
@pytest.mark.parametrize("value", [-1, 1.5, True])
def test_limits_are_whole_numbers_from_0_on(field, value):
    with pytest.raises(ValueError, match=f"atlas.{field} must be a whole number"):
        Atlas(**{field: value})
