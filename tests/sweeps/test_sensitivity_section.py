"""The curves of layers in the report: the table, the picture, and the file that rates come from."""

import dataclasses

import pandas as pd
import pytest
from report_frames import synthetic

from sweeps.report.sections.all import SECTIONS
from sweeps.report.sections.sensitivity import SENSITIVITY
from trainables.rates_file import read_rates

RATES = (0.2, 0.5, 0.8)
FALL = {"conv2.conv": 0.1, "inception3a.branch1.conv": 0.6, "inception3a.branch2.0.conv": 0.0}


def measured(key, granularity, dense):
    """Accuracy falls linearly with the rate, at a slope of each layer."""
    rows = [
        {"layer": layer, "rate": rate, "top1": dense * (1 - slope * rate), "dense": dense}
        for layer, slope in FALL.items()
        for rate in RATES
    ]
    said = {"key": key, "label": key, "granularity": granularity, "criterion": "l1"}
    return pd.DataFrame(rows).assign(n_images=100.0, **said)


@pytest.fixture(scope="module")
def frames():
    tables = [measured("a", "weight", 0.8), measured("b", "weight", 0.6)]
    return dataclasses.replace(
        synthetic(), sensitivity=pd.concat([*tables, measured("c", "filter", 0.8)])
    )


def test_the_table_has_the_means_and_the_rates_that_layers_bear(frames):
    assert SENSITIVITY in SECTIONS
    table = SENSITIVITY.data(frames)
    weight = table[(table["kind"] == "layer") & (table["granularity"] == "weight")]
    assert len(weight) == len(FALL) * len(RATES) and set(weight["keys"]) == {"a,b"}
    assert weight["dense"].unique() == pytest.approx([0.7])
    for row in weight.to_dict("records"):
        assert row["value"] == pytest.approx(0.7 * (1 - FALL[row["layer"]] * row["rate"]))
    bears = table[(table["kind"] == "bears") & (table["granularity"] == "weight")]
    found = dict(zip(bears["layer"], bears["value"], strict=True))
    wanted = {layer: min(0.8, 0.03 / slope if slope else 1) for layer, slope in FALL.items()}
    assert found == pytest.approx(wanted, abs=1.1e-4)
    assert SENSITIVITY.data(synthetic()).startswith("No trial of this sweep measured")


def test_rates_are_read_from_the_file_of_the_section(frames, tmp_path):
    path = tmp_path / "sensitivity.csv"
    SENSITIVITY.data(frames).to_csv(path, index=False)
    rates = dict(entry.split("=") for entry in read_rates(f"{path}@0.9", "weight", "l1"))
    assert float(rates["inception3a.branch1.conv"]) == pytest.approx(0.1 / 0.6, abs=1.1e-4)
    assert float(rates["conv2.conv"]) == 0.8 == float(rates["inception3a.branch2.0.conv"])
    assert read_rates(str(path), "weight", "random") == read_rates(str(path), "weight", "l1")
    assert read_rates(str(path), "filter", "l1") == read_rates(str(path), "weight", "l1")
    with pytest.raises(ValueError, match="granularity input_channel by l1, it has filter by l1, w"):
        read_rates(str(path), "input_channel", "l1")


def test_the_picture_has_a_panel_per_kind(frames, tmp_path):
    figure = SENSITIVITY.draw(SENSITIVITY.data(frames))
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert len([title for title in titles if title]) == 2
    figure.savefig(tmp_path / "x.png")
