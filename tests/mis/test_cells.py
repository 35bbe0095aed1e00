"""Cells with what is around them, and what is kept of them in how much memory."""

import pytest
import torch

from mis.dissection.cells import KeptCells, cells_at

BYTES = 44  # position and nine values


@pytest.mark.parametrize("shape", [(3, 4, 5, 2), (2, 1, 1, 3), (2, 1, 6, 1), (1, 7, 1, 4)])
def test_the_neighbours_of_every_cell(shape):
    n, h, w, units = shape
    maps = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    cells = cells_at(maps, torch.arange(maps.numel()))
    at = 0
    for image in range(n):
        for row in range(h):
            for column in range(w):
                for unit in range(units):
                    around = [
                        maps[image, min(max(row + y, 0), h - 1), min(max(column + x, 0), w - 1)]
                        for y in (-1, 0, 1)
                        for x in (-1, 0, 1)
                    ]
                    assert cells.around[:, at].tolist() == [each[unit].item() for each in around]
                    assert cells.unit[at] == unit
                    at += 1


def test_those_above_their_units_threshold():
    maps = torch.tensor([[0.0, 2.0], [1.0, 5.0], [3.0, 4.0]])[None, None]  # 1 x 3 cells, 2 units
    cells = cells_at(maps, torch.arange(6)).above(torch.tensor([1.0, 4.0]))
    assert cells.position.tolist() == [3, 4]
    assert cells.around[4].tolist() == [5, 3]


def random_batches(n, seed=0):
    draw = torch.Generator().manual_seed(seed)
    return [torch.rand(4, 3, 3, 2, generator=draw) for _ in range(n)]


def keep(kept, batches, floor):
    for maps in batches:
        kept.begin()
        position = (maps.flatten() > floor).nonzero().squeeze(1)
        kept.add("layer", maps, position, lambda: {"layer": torch.full((2,), 0.9)})


def test_no_more_is_kept_than_the_limit_and_nothing_above_the_floor_is_lost():
    batches = random_batches(40)
    most = []
    for limit in (0, 2_000, 10_000, 40_000, 10**6):
        kept = KeptCells(limit)
        for maps in batches:
            keep(kept, [maps], 0.5)
            assert kept.bytes <= limit
        held = [kept.take(number) for number in range(40)]
        for maps, batch in zip(batches, held, strict=True):
            if batch is not None:
                above = (maps.flatten() > 0.9).nonzero().squeeze(1).tolist()
                assert set(above) <= set(batch["layer"].position.tolist())
        most.append(sum(batch is not None for batch in held))
        assert all(kept.take(number) is None for number in range(40))  # once
    assert most[0] == 0 and most == sorted(most) and most[-1] == 40
    assert 0 < most[2] < 40
    # All above the floor fit, all above a half do not: they make room.
    assert most[3] == 40 and 40 * 72 * 0.5 * BYTES > 40_000


def test_a_batch_of_which_nothing_is_known_is_not_kept_but_the_next_is():
    kept = KeptCells(10**6)
    first, second = random_batches(2)
    kept.begin()
    kept.add("one", first, torch.arange(3), dict)
    kept.add("two", first, None, dict)
    kept.add("three", first, torch.arange(3), dict)
    assert kept.bytes == 0
    keep(kept, [second], 0.5)
    assert kept.take(0) is None
    assert set(kept.take(1)) == {"layer"}
