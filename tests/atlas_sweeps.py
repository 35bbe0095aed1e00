"""Sweeps that never ran, whose trials left all that an atlas of units is made of."""

import json

import numpy as np
from report_frames import log_sweep, synthetic

from trainables.artifacts import SHOWN, UNITS_BY_ROUND
from trainables.config import DataConfig, DissectionConfig, TrialConfig
from trainables.datasets.loading import probe_images
from trainables.fields import flat
from trainables.results import round_file
from trainables.scores.shown import N_SHOWN, Shown, write_shown

DATA = DataConfig(pixels=32, train_images=60, val_images=60, probe_images=200)


def few(**more):
    """Frames of a dense network, its control, an untrained one and some that are pruned."""
    given = {"methods": ("structured",), "rates": (0.5,), "controls": False} | more
    return synthetic(**given)


def logged(frames, folder, *, data=DATA, without=(), by_round=()):
    """The frames' sweep in MLflow, each trial with its images of units and its config; its tracker.

    without: keys of trials that kept no images, as those of earlier versions did. by_round: keys of
    trials that were scored after each of two rounds before the last, at .1 and .2 less of MIS.
    """
    results = folder / "results"
    probe, _ = probe_images(data, results / "cache")
    config = TrialConfig(data=data, dissection=DissectionConfig(n_images=100))
    tracker = log_sweep(frames, results, folder / "files")
    for key, run in tracker.finished().items():
        more = folder / "more" / key
        more.mkdir(parents=True)
        (more / "config.json").write_text(json.dumps(flat(config)))
        units = frames.units[frames.units["key"] == key]
        if key in by_round:
            tracker.client.log_param(run.info.run_id, "score_every_round", "True")
            for number in (1, 2):
                path = more / UNITS_BY_ROUND / round_file(number)
                path.parent.mkdir(exist_ok=True)
                units.assign(mis=units["mis"] - number / 10).to_parquet(path, index=False)
        if key not in without:
            write_shown(more / SHOWN, shown_of(units, probe.digest, len(probe)))
        tracker.log_folder(run.info.run_id, more)
    return tracker


def shown_of(units, digest, n_images):
    """Images of units, by the number of the unit: other ones in every unit and in every network."""
    random = np.random.default_rng(len(units))
    ids = np.stack([random.permutation(n_images)[: 2 * N_SHOWN] for _ in range(len(units))])
    ids = ids.astype(np.int32)
    return Shown(
        list(units["layer"]),
        units["channel"].to_numpy(np.int32),
        ids[:, :N_SHOWN],
        ids[:, N_SHOWN:],
        digest,
    )
