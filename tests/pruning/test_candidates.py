"""The benchmark of criteria: a comparison that is told by trainings."""

import pytest
import torch
from PIL import Image
from scipy import stats
from torch import nn

from benchmarks.criteria import CHANCE, CRITERIA, compared, measure, of_given

LOAD = """
import torch
from torch import nn

def load(path):
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 6, 3), nn.LocalResponseNorm(3), nn.ELU(),
        nn.Conv2d(6, 5, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(5, 2),
    )
    return network

def prepare(picture):
    pixels = torch.tensor(bytearray(picture.tobytes()), dtype=torch.uint8)
    return pixels.view(picture.height, picture.width, 3).permute(2, 0, 1) / 255
"""


def test_criteria_are_compared_training_by_training():
    draws = torch.rand(5, len(CHANCE) + len(CRITERIA), generator=torch.Generator().manual_seed(0))
    found = [dict(zip((*CHANCE, *CRITERIA), row, strict=True)) for row in draws.tolist()]
    of_chance = [sum(rows[name] for name in CHANCE) / len(CHANCE) for rows in found]
    apart = {(each.name, each.against): each for each in compared(found)}
    assert len(apart) == 2 * len(CRITERIA) - 1
    for (name, against), each in apart.items():
        values = [rows[name] for rows in found]
        others = of_chance if against == "chance" else [rows["L1"] for rows in found]
        theirs = stats.ttest_rel(values, others)
        assert each.less.p == pytest.approx(theirs.pvalue)
        assert each.less.interval(0.95) == pytest.approx(theirs.confidence_interval(0.95))
        assert theirs.pvalue <= each.p <= 1


def test_a_given_network_is_judged_by_photographs_that_no_criterion_saw(tmp_path, monkeypatch):
    (tmp_path / "net.py").write_text(LOAD)
    for name, level in (("b", 255), ("a", 0)):
        (tmp_path / "photographs" / name).mkdir(parents=True)
        for number in range(8):
            Image.new("RGB", (9, 9), (level, 10 * number, 0)).save(
                tmp_path / "photographs" / name / f"{number}.png"
            )
    monkeypatch.setattr("benchmarks.criteria.FITTED", 6)
    case = of_given(tmp_path / "net.py", tmp_path / "none", tmp_path / "photographs", None)
    seen = torch.cat([x for x, _ in case.samples()])
    labels = torch.cat([y for _, y in case.samples()])
    assert len(seen) == 6
    assert torch.equal(labels, (seen[:, 0, 0, 0] == 1).long())  # "b" is the second folder

    judged = []

    class Spy(nn.Module):
        def forward(self, x):
            judged.append(x)
            return torch.stack([1 - x[:, 0, 0, 0], x[:, 0, 0, 0]], 1)  # always right

    assert case.top1(Spy()) == 1
    together = torch.cat([seen, *judged]).flatten(1)
    assert len(together) == len(together.unique(dim=0)) == 16
    little, half = measure(case, [0.2, 0.5], CRITERIA)
    assert half["LRP"] != half["LRP"]  # no rule for ELU: no number
    assert all(0 <= rows["outgoing L1"] <= 1 for rows in (little, half))
    assert little.keys() == half.keys() == {"dense", *CHANCE, *CRITERIA}
