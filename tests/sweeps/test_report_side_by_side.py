"""Several studies in one report: the same question on each, and nothing better on too few pairs."""

import dataclasses
import io

import numpy as np
import pandas as pd
import pytest
from report_frames import log_sweep, synthetic
from rich.console import Console

from sweeps import __main__ as cli
from sweeps.report import load, report_studies
from sweeps.report.side_by_side import answers_of, best_sentence, methods_of, pair_of
from sweeps.report.statistics.questions import answers


def frames(study, seed, network="googlenet"):
    made = synthetic(
        methods=("structured", "unstructured"),
        rates=(0.25, 0.5, 0.9),
        channels=2,
        dissected=False,
        stopped=False,
        seed=seed,
    )
    trials = made.trials.assign(**{"network.name": network})
    return dataclasses.replace(made, study=study, trials=trials)


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    folder = tmp_path_factory.mktemp("several")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        for n, (study, network) in enumerate({"first": "googlenet", "second": "resnet18"}.items()):
            log_sweep(frames(study, n, network), folder / "results", folder / study)
    return folder / "results"


@pytest.fixture(scope="module")
def written(results):
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        console = Console(file=io.StringIO())
        assert report_studies(["first", "second"], results, console) == 0
    return results / "report" / "first+second"


def test_every_answer_is_that_of_the_studys_own_report(results, written, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    table = pd.read_csv(written / "answers.csv")
    for study in ("first", "second"):
        own = load(study, results)
        found = answers(own.trials)
        mine = table[table["study"] == study]
        assert len(mine) == len(found) > 10
        changes = [np.nan if a.slope is None else a.slope.change for a in found]
        assert mine["change"].to_numpy() == pytest.approx(np.array(changes), nan_ok=True)
        assert [a.verdict for a in found] == mine["verdict"].tolist()
    assert set(table["pair"]) == {"googlenet on concepts", "resnet18 on concepts"}


def test_methods_are_means_over_the_trials_of_mlflow(results, written, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    table = pd.read_csv(written / "methods.csv")
    trials = load("first", results).trials
    alike = (trials["retraining"] == "finetune") & (trials["schedule"] == "one_shot")
    alike &= (trials["criterion"] == "l1") & ~trials["most_important_first"]
    expected = trials[alike].groupby(["rate", "method"])["val/top1"].mean()
    mine = table[table["study"] == "first"].set_index(["rate", "method"])["top1"]
    assert len(mine) == 6
    for place, top1 in expected.items():
        assert mine[place] == pytest.approx(top1)


def test_the_page_and_its_files_stand_side_by_side(written):
    names = {path.name for path in written.iterdir() if not path.name.startswith(".")}
    assert names == {"report.html", "answers.csv", "answers.png", "answers.svg", "methods.csv"}
    page = (written / "report.html").read_text()
    assert 'href="../first/report.html"' in page and "never pooled" in page
    assert "http" not in page.replace("http://www.w3.org", "")


def ranking(*wins):
    """Each pair -> which of two methods is best at both rates, or none."""
    rows = []
    for n, winner in enumerate(wins):
        for rate in (0.3, 0.6):
            for method in ("a", "b"):
                best = method == (winner or ("a" if rate < 0.5 else "b"))
                rows.append({"study": f"s{n}", "pair": f"p{n}", "rate": rate, "method": method,
                             "top1": 0.5, "n": 1, "best": best})  # fmt: skip
    return pd.DataFrame(rows)


def test_nothing_is_called_better_on_fewer_than_three_pairs():
    assert best_sentence(ranking("a", "a")).endswith("so none is here.")
    assert best_sentence(ranking("a", "a", "b", "a")) == (
        "a is best at every rate on 3 of 4 pairs of network and data."
    )
    assert best_sentence(ranking(None, None)).startswith("On none of 2 pairs")
    one = ranking("a")
    assert best_sentence(one[one["method"] == "a"]) == ""


def test_a_method_that_did_not_run_at_every_rate_is_best_at_none():
    made = ranking("a", "a", "a")
    more = made[made["rate"] == 0.3].assign(rate=0.9, best=True)
    rivals = more[more["method"] == "b"]
    assert len(rivals) == 3
    third = rivals.assign(method="c", best=False)
    assert best_sentence(pd.concat([made, rivals, third])).startswith("On none of 3 pairs")


def test_studies_of_one_pair_count_once():
    trials = frames("x", 0).trials
    both = pd.concat([methods_of(study, trials) for study in ("x", "y")])
    assert pair_of(trials) == "googlenet on concepts"
    assert "of 1 pairs" in best_sentence(both)
    asked = answers_of("x", trials, "")
    assert set(asked["study"]) == {"x"} and asked["p"].notna().any()


def test_studies_are_named_after_the_verb_or_by_make(results, written, monkeypatch, capsys):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    page = written / "report.html"
    for words in (["first", "second"], ["--study=first second"]):
        page.unlink()
        assert cli.main(["report", *words, "--results", str(results)]) == 0
        assert page.exists()
    capsys.readouterr()
    wrong = {
        ("first", "first"): "must be named once each",
        ("first", "absent"): "MLflow must hold the study 'absent'",
        ("first", "--study", "second"): "by --study or after it, not both",
        ("first", "second", "--sweep", "x"): "--sweep must go with one study",
    }
    for words, message in wrong.items():
        assert cli.main(["report", *words, "--results", str(results)]) == 2
        assert message in capsys.readouterr().err
