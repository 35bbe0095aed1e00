"""What a picture of a unit shows, read back from its pixels."""

import math

import numpy as np
import pytest
import torch

from mis.score.gallery import MINUS, PLUS, choose_units, draw_unit, panel_of
from mis.score.tasks import build_tasks

TILE = 24


def tasks(k=9):
    top = torch.arange(20).repeat(2, 1)
    generator = torch.Generator().manual_seed(0)
    return build_tasks(top, top + 20, n_tasks=2, k=k, generator=generator)


def images():
    """Image i is of one colour, (i + 1, 200, 255 - i)."""
    number = np.arange(40, dtype=np.uint8)
    colours = np.stack([number + 1, np.full_like(number, 200), 255 - number], axis=1)
    return np.broadcast_to(colours[:, None, None], (40, 8, 8, 3))


def positions(picture, image):
    """(rows, columns) of the pixels of an image's colour."""
    return np.nonzero((picture == images()[image, 0, 0]).all(axis=2))


def draw(*panels, as_tensor=False):
    pixels = torch.from_numpy(images().copy()) if as_tensor else images()
    return draw_unit(pixels, "conv1 channel 3", panels, tile=TILE)


@pytest.mark.parametrize("k", [1, 5, 9])
def test_every_image_of_the_task_is_shown_once(k):
    dealt = tasks(k)
    picture = draw(panel_of(dealt, 1, title="dense", mis=0.91, task=1))
    assert picture.dtype == np.uint8 and picture.shape[2] == 3
    shown = [*dealt.plus[1, 1].tolist(), *dealt.minus[1, 1].tolist()]
    for image in [*shown, int(dealt.plus_query[1, 1]), int(dealt.minus_query[1, 1])]:
        assert len(positions(picture, image)[0]) == TILE * TILE
    others = set(range(40)) - {*shown, int(dealt.plus_query[1, 1]), int(dealt.minus_query[1, 1])}
    assert all(len(positions(picture, image)[0]) == 0 for image in others)


def test_weak_is_left_strong_is_right_and_queries_are_framed_between():
    dealt = tasks()
    picture = draw(panel_of(dealt, 0, title="dense", mis=0.91))
    columns = {
        side: [positions(picture, image)[1] for image in ids]
        for side, ids in (
            ("minus", dealt.minus[0, 0].tolist()),
            ("queries", [int(dealt.plus_query[0, 0]), int(dealt.minus_query[0, 0])]),
            ("plus", dealt.plus[0, 0].tolist()),
        )
    }
    edges = {side: (np.min(found), np.max(found)) for side, found in columns.items()}
    assert edges["minus"][1] < edges["queries"][0] < edges["queries"][1] < edges["plus"][0]
    for image, colour in ((dealt.plus_query[0, 0], PLUS), (dealt.minus_query[0, 0], MINUS)):
        rows, across = positions(picture, int(image))
        frame = picture[rows.min() - 2, across.min() : across.max()]
        assert (frame == colour).all()


def test_two_networks_are_side_by_side():
    dealt = tasks()
    dense = panel_of(dealt, 0, title="dense", mis=0.91)
    pruned = panel_of(dealt, 1, title="pruned", mis=0.4, state="unread", task=1)
    assert pruned.caption == "MIS 0.40, unread" and dense.caption == "MIS 0.91"
    picture = draw(dense, pruned)
    shown = [{*panel.plus.tolist(), *panel.minus.tolist()} for panel in (dense, pruned)]
    queries = {pruned.plus_query, pruned.minus_query, dense.plus_query, dense.minus_query}
    left = max(positions(picture, image)[1].max() for image in shown[0] - shown[1] - queries)
    only_pruned = shown[1] - shown[0] - queries
    assert left < min(positions(picture, image)[1].min() for image in only_pruned)
    assert np.array_equal(picture, draw(dense, pruned, as_tensor=True))
    assert not np.array_equal(picture, draw_unit(images(), "other", [dense, pruned], tile=TILE))


def test_a_dead_unit_shows_no_images():
    dead = panel_of(tasks(), 0, title="pruned", mis=math.nan, state="dead")
    assert dead.caption == "dead"
    picture = draw(dead)
    assert all(len(positions(picture, image)[0]) == 0 for image in range(40))
    assert picture.shape == draw(panel_of(tasks(), 0, title="pruned", mis=0.5)).shape


def test_a_picture_needs_a_panel():
    with pytest.raises(ValueError, match="at least one panel, got none"):
        draw()


def test_which_units_to_look_at():
    nan = math.nan
    dense = torch.tensor([0.5, 0.6, 0.7, 0.8, nan, 0.9, 0.55])
    mis = torch.tensor([0.9, 0.6, 0.5, 0.8, 0.99, nan, 0.55])
    chosen = choose_units(mis, dense, n=2)
    assert chosen == {
        "best": [0, 3],
        "median": [1, 6],  # of .9 .6 .5 .8 .55 it is .6
        "worst": [2, 6],
        "clearer": [0, 1],
        "less_clear": [2, 1],
    }
    assert choose_units(mis, dense, n=9)["best"] == [0, 3, 1, 6, 2]
    assert set(map(len, choose_units(mis[4:6], dense[4:6]).values())) == {0}
    with pytest.raises(ValueError, match=r"the same units, got \(7,\) and \(6,\)"):
        choose_units(mis, dense[1:])
