"""Who ran what: source, user, commit, data sets and costs, as MLflow has them."""

import subprocess
import sys

import pytest

from sweeps.tracking import provenance as module
from sweeps.tracking.outbox import Outbox
from sweeps.tracking.provenance import provenance
from sweeps.tracking.tracker import Tracker


@pytest.fixture(autouse=True)
def anew(monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    provenance.cache_clear()
    yield
    provenance.cache_clear()


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A repository with one commit; its hash."""
    root = tmp_path / "checkout"
    (root / "sweeps").mkdir(parents=True)
    (root / "sweeps" / "a.py").write_text("1")

    def git(*words):
        who = ("-c", "user.name=x", "-c", "user.email=x@x")
        command = ["git", "-C", str(root), *who, *words]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    git("init", "-q")
    git("add", "-A")
    git("commit", "-qm", "one")
    monkeypatch.setattr(module, "_ROOT", root)
    return root, git("rev-parse", "HEAD")


def test_the_commit_and_whether_anything_was_changed_since(checkout):
    root, commit = checkout
    tags = provenance()
    assert tags["mlflow.source.git.commit"] == commit and tags["git_tree"] == "clean"
    provenance.cache_clear()
    (root / "results.txt").write_text("of a sweep: no source")
    assert provenance()["git_tree"] == "clean"
    provenance.cache_clear()
    (root / "sweeps" / "a.py").write_text("2")
    assert provenance()["git_tree"] == "changed"


def test_without_a_checkout_or_git_the_rest_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_ROOT", tmp_path)
    assert "mlflow.source.git.commit" not in provenance()
    provenance.cache_clear()
    (tmp_path / ".git").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path))
    tags = provenance()
    assert "mlflow.source.git.commit" not in tags and tags["mlflow.source.type"] == "LOCAL"
    assert "ray 2." in tags["versions_driver"] and "mlflow 3." in tags["versions_driver"]


def test_the_source_is_the_command_without_its_passwords(monkeypatch):
    words = ["/x/sweeps/__main__.py", "sweep", "--data", "s3://key:secret@host/bucket"]
    monkeypatch.setattr(sys, "argv", words)
    monkeypatch.setattr("getpass.getuser", lambda: "ada")
    tags = provenance()
    assert tags["mlflow.source.name"].startswith("secateur sweep --data s3://")
    assert "secret" not in tags["mlflow.source.name"] and tags["mlflow.user"] == "ada"


INPUTS = [
    {
        "context": context,
        "name": f"photos, {context}",
        "digest": "0123456789abcdef" * 4,
        "source": "/photos",
        "n_images": "7",
        "n_classes": "3",
    }
    for context in ("training", "validation", "probe")
]


def test_a_run_says_who_began_it_and_which_images_it_read(checkout, tmp_path):
    tracker = Tracker("who", tmp_path / "results")
    path = tmp_path / "results" / "outbox" / "who.jsonl"
    for _ in range(2):  # delivered twice, as after a crash, it is there once
        outbox = Outbox(path, tracker, None)
        outbox.start("k", "trial", "trial", {"rate": 0.5})
        outbox.metrics("k", 1, {"spent/epoch_seconds": 2.0})
        outbox.end("k", "FINISHED", "completed", {"torch": "2"}, inputs=INPUTS)
        assert outbox.close(60) == 0 and not outbox.refused
    (run,) = tracker.runs("trial")
    assert run.data.tags["mlflow.source.git.commit"] == checkout[1]
    assert run.data.tags["git_tree"] == "clean" and run.data.tags["mlflow.user"]
    read = {
        each.tags[0].value: (each.dataset.name, each.dataset.digest, each.dataset.source)
        for each in run.inputs.dataset_inputs
    }
    assert len(run.inputs.dataset_inputs) == 3 and set(read) == {"training", "validation", "probe"}
    name, digest, source = read["probe"]
    assert name == "photos, probe" and digest == ("0123456789abcdef" * 4)[:36]
    assert "/photos" in source
    assert run.data.metrics == {"spent/epoch_seconds": 2.0}
