"""Sweeps that never ran: the frames that a report may meet, and a store that holds them."""

import dataclasses
import hashlib
import itertools

import numpy as np
import pandas as pd

from sweeps.report.read.frames import MADE_ON, SweepFrames
from sweeps.tracking.tracker import Tracker
from trainables.methods import METHODS

LAYERS = [
    "conv1",
    "conv2",
    *(
        f"inception{block}.{branch}"
        for block in ("3a", "3b", "4a", "4b", "5a")
        for branch in ("branch1", "branch2.0", "branch2.1", "branch3.0", "branch3.1", "branch4.1")
    ),
    "fc",
]
RATES = (0.25, 0.5, 0.75, 0.9)
_CHANCE = 0.05


OF_OTHER_SWEEPS = {
    *("units_over_density", "accuracy_over_rounds", "sensitivity", "few_images", "searched"),
    *("scores", "scores_agreement", "answers", "classes", "class_units", "same_unit"),
}
"""Sections that need trials of their own kinds: rounds, other scores, a search, and so on."""


def synthetic(
    *,
    methods=("unstructured", "structured", "connection"),
    rates=RATES,
    seeds=(0,),
    channels=6,
    controls=True,
    epochs=True,
    dissected=True,
    stopped=True,
    seed=0,
):
    """Frames of a sweep in which accuracy falls with the rate, and MIS with it."""
    random = np.random.default_rng(seed)
    configs = [
        config
        for run in seeds
        for config in [
            *_baselines(run),
            *_pruned(methods, rates, run),
            *(_controls(methods, rates, run) if controls else []),
        ]
    ]
    beside = np.random.default_rng(seed + 1)  # the others draw what they drew without these

    def drawn_by(row):
        return beside if "prune.counts_of" in row else random

    rows = [_trial(config, drawn_by(config)) for config in configs]
    if stopped:
        last = [row for row in rows if row["schedule"] == "iterative"][-1]
        best = next(row for row in rows if row["recipe"] == last["recipe"])
        last |= {
            "outcome": "stopped",
            "stopped": "stopped after epoch 1: not among the best",
            "stopped_epoch": "1",
            "stopped_rung": "1",
            "stopped_metric": "val/top1",
            "stopped_value": "0.25",
            "stopped_cutoff": "0.5",
            "stopped_peers": "4",
            "stopped_best": best["label"],
            "stopped_best_key": best["key"],
            "stopped_arm": "an arm",
            "stopping/epochs_saved": 2.0,
            "stopping/hours_saved": 0.25,
        }
    trials = pd.DataFrame(rows)
    units = pd.concat([_units(row, channels, drawn_by(row)) for row in rows], ignore_index=True)
    trials = trials.assign(**_means(trials, units))
    curves = [_epochs(row, random) for row in rows if row["retraining"] == "finetune"]
    found = [_dissected(row, channels, drawn_by(row)) for row in rows]
    return SweepFrames(
        study="synthetic",
        trials=trials,
        units=units,
        missing=0,
        caption="googlenet on concepts, 64 px; images: 1200 train, 800 val, 1000 probe; MIS by "
        "efficientnet_lite0, 20 tasks; a processor, fp32, torch 2",
        epochs=pd.concat(curves, ignore_index=True) if epochs and curves else _nothing(),
        dissected=pd.concat(found, ignore_index=True) if dissected else _nothing(),
        layers=pd.concat([_nothing(), *(_layers(row) for row in rows if row["rate"])]),
        unfinished=pd.DataFrame(columns=["label", "key", "status", "outcome", "error"]),
        purpose="A sweep that never ran.\n\nPurpose   Numbers to draw.\nSource    A generator.",
        sweep_key="0123456789ab",
        primary="mis/change with sparsity, retrained",
    )


def in_rounds(*, seeds=(0,), rounds=10, step=0.2, dissected=True, seed=0):
    """Frames of a study that takes a step of what is left each round, and scores after each."""
    random = np.random.default_rng(seed)
    rows, curves = [], []
    iterative = {"schedule": "iterative", "rounds": rounds, "retraining": "rewind_weights"}
    iterative["recipe"] = f"{rounds} × 11 epochs, rewound to epoch 1"
    kinds = ({}, {"criterion": "random"}, {"most_important_first": True})
    for run in seeds:
        dense, again, untrained = _baselines(run)
        again |= {"retraining": "rewind_weights"}
        rows += [_trial(config, random) for config in (dense, again, untrained)]
        for kind in kinds:
            levels = [
                _trial(_config("unstructured", rate, run, **iterative, **kind), random)
                for rate in 1 - (1 - step) ** np.arange(1, rounds + 1)
            ]
            rows.append(levels[-1])
            # The last round's scores are the trial's own; an epoch in the middle of a round has
            # none.
            scored = ("mis/mean", "dissection/interpretable", "dissection/unique")
            for done, level in enumerate(levels, 1):
                what = {n: v for n, v in level.items() if n.startswith(("val/", "prune/s"))}
                if done < rounds:
                    what |= {n: v for n, v in level.items() if n in scored or n.count("/") == 2}
                row = {"key": levels[-1]["key"], "label": levels[-1]["label"]}
                curves.append(row | what | {"epoch": 2.0 * done, "round": float(done)})
                first = {"val/top1": 0.1, "prune/sparsity": level["prune/sparsity"]}
                curves.append(row | first | {"epoch": 2.0 * done - 1, "round": float(done)})
    trials, epochs = pd.DataFrame(rows), pd.DataFrame(curves)
    if not dissected:
        found = [n for n in trials if n.startswith("dissection/")]
        trials, epochs = trials.drop(columns=found), epochs.drop(columns=found)
    return SweepFrames(
        study="in rounds",
        trials=trials,
        units=pd.concat([_units(row, 3, random) for row in rows], ignore_index=True),
        missing=0,
        caption="resnet50 on concepts, 64 px",
        epochs=epochs,
        dissected=pd.concat([_dissected(row, 3, random) for row in rows])
        if dissected
        else _nothing(),
        unfinished=pd.DataFrame(columns=["label", "key", "status", "outcome", "error"]),
    )


_TABLES = ("trials", "units", "epochs", "dissected", "layers", "sensitivity", "rounds")
_TABLES += ("predictions",)


def of_network(frames, name, *, worse=0.0):
    """The same of another network, with other keys; worse: what each trial loses of top-1."""
    first = name[0].encode().hex()
    tables = {}
    for table in _TABLES:
        rows = getattr(frames, table)
        if len(rows):
            rows = rows.assign(key=first + rows["key"].astype(str).str[2:])
        tables[table] = rows
    trials = tables["trials"].assign(**{"network.name": name})
    tables["trials"] = trials.assign(**{"val/top1": trials["val/top1"] - worse})
    return dataclasses.replace(frames, **tables)


def together(*frames):
    """The trials of several sweeps as those of one."""
    tables = {n: pd.concat([getattr(f, n) for f in frames], ignore_index=True) for n in _TABLES}
    return dataclasses.replace(frames[0], **tables)


def with_twins(frames, *, seed=0):
    """The same, with each unit beside its dense twin: all but one in four stay what they were in a
    pruned network, of the others half are now at the next number; MIS falls in those alone."""
    random, units = np.random.default_rng(seed), frames.units.copy()
    trials = frames.trials.set_index("key")
    starts = units["key"].map(trials["method"] != "untrained") & units["key"].map(
        (trials["method"] != "dense") | (trials["retraining"] != "none")
    )
    pruned = units["key"].map(trials["rate"] > 0) & starts
    drawn, twin = random.random(len(units)), random.uniform(0.9, 1.0, len(units))
    gone = pruned & (drawn < 0.25)
    moved = gone & (drawn < 0.125)
    next_ = (units["channel"] + 1) % (units["channel"].max() + 1)
    known = starts & (units["state"] == "alive")
    for at in ("before", "after"):
        units[f"twin_{at}"] = np.where(gone, 0.1, twin)
        units[f"match_{at}"] = np.where(gone & ~moved, 0.3, twin)
        units[f"match_channel_{at}"] = np.where(gone, next_, units["channel"])
        units.loc[~known, [f"twin_{at}", f"match_{at}"]] = np.nan
        units.loc[~known, f"match_channel_{at}"] = -1
    units["mis"] = np.where(gone, units["dense_mis"] - 0.1, units["dense_mis"])
    units.loc[units["state"] != "alive", "mis"] = np.nan
    return dataclasses.replace(frames, units=units)


CLASSES = ("ant", "bee", "cat", "dog", "elk", "fox", "gnu", "hen")
PAYS = "fox"  # of the classes; each network loses most of it


def answered(frames, *, n_images=400, seed=0):
    """The same, with what the networks answer to each image, and the metrics that are of it.

    A network that is not as accurate as its dense one is wrong first on images of `PAYS`; dense
    networks of two seeds err on images of their own.
    """
    truth = np.arange(n_images) % len(CLASSES)
    names, tables = pd.Categorical.from_codes(truth, categories=pd.Index(CLASSES)), []
    more = {}
    for row in frames.trials.to_dict("records"):
        random = np.random.default_rng([seed, int(row["seed"])])
        wrong = (truth + random.integers(1, len(CLASSES), n_images)) % len(CLASSES)
        dense = np.where(random.random(n_images) < 0.8, truth, wrong)
        own = np.random.default_rng([seed, int(row["key"], 16) % 2**32])
        lost = np.where(truth == CLASSES.index(PAYS), 8, 0.5) * max(0.8 - row["val/top1"], 0.0)
        answers = np.where(own.random(n_images) < lost, (truth + 1) % len(CLASSES), dense)
        columns = {"key": row["key"], "label": row["label"], "images": "0a", "class": names}
        columns |= {"truth": truth.astype(np.int16), "answer_1": answers.astype(np.int16)}
        is_dense = (row["method"], row["retraining"]) == ("dense", "none")
        starts_dense = not is_dense and row["method"] != "untrained"
        if is_dense:
            columns["answer_1"] = dense.astype(np.int16)
        if starts_dense:
            columns["dense"] = dense.astype(np.int16)
            change = (answers == truth).astype(int) - (dense == truth)
            agreed = float((answers == dense).mean())
            more[row["key"]] = (agreed, float(change.mean()))
        right = columns["answer_1"] == truth
        more.setdefault(row["key"], (np.nan, np.nan))
        more[row["key"]] += (float(right.mean()),)
        tables.append(pd.DataFrame(columns))
    metrics = ("val/agreement", "val/top1_change", "val/top1")
    found = {m: [more[k][i] for k in frames.trials["key"]] for i, m in enumerate(metrics)}
    return dataclasses.replace(
        frames,
        trials=frames.trials.assign(**found),
        predictions=pd.concat(tables, ignore_index=True),
    )


def _nothing():
    return pd.DataFrame({"key": [], "label": []})


def _config(method, rate, seed, **changes):
    return {
        "method": method,
        "rate": rate,
        "schedule": "one_shot" if rate else "none",
        "criterion": "l1" if rate else "none",
        "retraining": "finetune",
        "seed": seed,
        "most_important_first": False,
        "held": True,
        "rounds": 1,
        "recipe": "3 epochs, sgd 0.005",
        **changes,
    }


def _baselines(seed):
    return [
        _config("dense", 0.0, seed, retraining="none", recipe=""),
        _config("dense", 0.0, seed),
        _config("untrained", 0.0, seed, retraining="recalibrate", recipe=""),
    ]


def _pruned(methods, rates, seed):
    rounds = {"schedule": "iterative", "rounds": 3, "recipe": "3 × 1 epoch, sgd 0.005"}
    kinds = (
        {},
        rounds,
        {"retraining": "none", "recipe": ""},
        {"retraining": "recalibrate", "recipe": ""},
    )
    for method, rate, kind in itertools.product(methods, rates, kinds):
        yield _config(method, rate, seed, **kind)


def _controls(methods, rates, seed):
    as_it_is = {"retraining": "recalibrate", "recipe": ""}
    for method, rate in itertools.product(methods, rates):
        yield _config(method, rate, seed, criterion="random", **as_it_is)
        for draw in range(3 * (METHODS[method]["scope"] == "global")):
            of = {"prune.counts_of": "l1", "prune.draw": str(draw)}
            yield _config(method, rate, seed, criterion="random", **as_it_is, **of)
    for method in methods:
        yield _config(method, rates[0], seed, most_important_first=True, **as_it_is)


def _trial(config, random):
    rate, method = config["rate"], config["method"]
    strength = {"unstructured": 6.0, "structured": 2.0, "connection": 3.0}.get(method, 4.0)
    lost = rate**strength
    if config["retraining"] != "finetune":
        lost = min(1.0, 1.8 * lost + (0.3 if config["retraining"] == "none" and rate else 0.0))
    if config["criterion"] == "random":
        lost = min(1.0, lost + (0.1 if "prune.counts_of" in config else 0.25))
    if config["most_important_first"] or method == "untrained":
        lost = 1.0
    top1 = _CHANCE + (0.8 - _CHANCE) * (1 - lost) + random.normal(0, 0.008)
    gone = rate if method == "structured" else 0.1 * rate
    n_units = 7000
    mis = 0.57 + 0.11 * (top1 - _CHANCE) / 0.75 + random.normal(0, 0.002)
    macs = 1.2e8 * ((1 - rate) ** 1.5 if method == "structured" else 1.0)
    label = config["method"] + (f" {rate:g} {config['schedule']}" if rate else "")
    label += {"none": ", as pruned", "recalibrate": ", recalibrated"}.get(config["retraining"], "")
    if config["criterion"] == "random":
        label += " random"
        if "prune.counts_of" in config:
            label += f", as many per layer as l1, draw {config['prune.draw']}"
    if config["most_important_first"]:
        label += " most important first"
    if not rate:
        names = {"none": "dense", "finetune": "dense retrained", "rewind_weights": "dense again"}
        label = names.get(config["retraining"], "untrained")
    label += f" seed {config['seed']}" if config["seed"] else ""
    halves = np.random.default_rng(int(digest(label)[:8], 16)).normal(0, 0.01, 2)
    axes = {f"prune.{n}": str(config[n]) for n in ("rate", "schedule", "criterion")} if rate else {}
    return {
        **config,
        **axes,
        **{f"prune.{name}": value for name, value in METHODS.get(method, {}).items()},
        "network.name": "googlenet",
        "data.name": "concepts",
        "data.pixels": "32",
        "data.val_images": "800",
        "data.probe_images": "1000",
        "score.n_tasks": "20",
        "score.n_explanations": "9",
        "label": label,
        "key": digest(label)[:12],
        "run_id": digest(f"run of {label}")[:32],
        "outcome": "completed",
        "device": "a processor",
        "precision": "fp32",
        "torch": "2.15",
        "code": "0123456789ab",
        "stopped": "",
        "seconds": 10.0 + 40 * (config["retraining"] == "finetune"),
        "val/top1": top1,
        "val/top1_a": top1 + halves[0],
        "val/top1_b": top1 + halves[1],
        "val/top1_error": np.sqrt(top1 * (1 - top1) / 800),
        "val/top5": min(1.0, top1 + 0.15),
        "val/loss": 3 * (1 - top1),
        "val/ece": 0.05,
        "prune/sparsity": rate,
        "prune/sparsity_network": rate * 0.85,
        "prune/n_collapsed": 0.0,
        "cost/params": 6e6 * (1 - gone),
        "cost/macs": macs,
        "cost/latency": 4.0 * macs / 1.2e8 + 0.5,
        "cost/params_dense": 6e6,
        "cost/macs_dense": 1.2e8,
        "cost/latency_dense": 4.5,
        "cost/macs_masked": 1.2e8 * (1 - rate),
        "cost/params_masked": 6e6 * (1 - rate),
        "cost/latency_masked": 4.5,
        "mis/mean": mis,
        "mis/error": 0.0025,
        "mis/median": mis + 0.005,
        "mis/task_accuracy": mis + 0.1,
        "mis/mean_dead_as_half": mis - 0.1 * gone,
        "mis/change": mis - 0.68,
        "mis/change_error": 0.002,
        "mis/dense_same_units": 0.68,
        "mis/pixels_mean": 0.53 + random.normal(0, 0.002),
        "mis/shuffled_mean": 0.5 + random.normal(0, 0.001),
        "mis/shuffled_error": 0.001,
        "mis/n_units": n_units * (1 - gone),
        "mis/n_dead": n_units * gone,
        "mis/n_constant": 0.0,
        "mis/n_unread": 0.0,
        **_detectors(top1),
    }


def _detectors(top1):
    """Counts in all and by category; most detectors are of colours."""
    units = {"shape": round(12 * top1), "texture": round(8 * top1), "colour": round(20 * top1)}
    found = {f"dissection/{name}/interpretable": float(n) for name, n in units.items()}
    found |= {f"dissection/{name}/unique": float(min(n, 6)) for name, n in units.items()}
    found["dissection/interpretable"] = float(sum(units.values()))
    return found | {"dissection/unique": float(sum(min(n, 6) for n in units.values()))}


def digest(text):
    """The same in every process, as a key is."""
    return hashlib.sha256(text.encode()).hexdigest()


def _units(row, channels, random):
    n = len(LAYERS) * channels
    depth = np.repeat(np.linspace(0, 1, len(LAYERS)), channels)
    dense = np.clip(np.random.default_rng(7).normal(0.6 + 0.16 * depth, 0.05, n), 0.3, 1)
    mis = dense + row["mis/change"] + random.normal(0, 0.02, n)
    gone = random.random(n) < row["mis/n_dead"] / 7000
    return pd.DataFrame(
        {
            "key": row["key"],
            "label": row["label"],
            "layer": np.repeat(LAYERS, channels),
            "channel": np.tile(np.arange(channels), len(LAYERS)),
            "state": np.where(gone, "dead", "alive"),
            "mis": np.where(gone, np.nan, mis),
            "task_accuracy": np.where(gone, np.nan, np.round((mis + 0.1) * 20) / 20),
            "mis_pixels": np.where(gone, np.nan, 0.53),
            "dense_mis": dense,
            "minimum": 0.0,
            "maximum": np.where(gone, 0.0, 1.0),
            "counted": ~np.isin(np.repeat(LAYERS, channels), ["conv1", "fc"]),
        }
    )


def _means(trials, units):
    """What the trials' metrics must be if they are of these units."""
    counted = units[units["counted"]]
    alive = counted[counted["state"] == "alive"].groupby("key")
    said = {
        "mis/mean": alive["mis"].mean(),
        "mis/dense_same_units": alive["dense_mis"].mean(),
        "mis/n_units": alive.size().astype(float),
        "mis/n_dead": (counted["state"] == "dead").groupby(counted["key"]).sum().astype(float),
    }
    said["mis/change"] = said["mis/mean"] - said["mis/dense_same_units"]
    return {name: trials["key"].map(values) for name, values in said.items()}


def _epochs(row, random):
    n = 1 if row["outcome"] == "stopped" else 3
    done = np.arange(1, n + 1)
    return pd.DataFrame(
        {
            "key": row["key"],
            "label": row["label"],
            "epoch": done.astype(float),
            "round": np.ceil(done * row["rounds"] / 3).astype(float),
            "prune/sparsity": row["prune/sparsity"],
            "train/loss": 2.0 / done,
            "val/top1": row["val/top1"] * (1 - 0.4 / done**2) / (1 - 0.4 / n**2),
        }
    )


def _dissected(row, channels, random):
    detects = random.random(channels * 4) < row["val/top1"]
    return pd.DataFrame(
        {
            "key": row["key"],
            "label": row["label"],
            "layer": np.repeat(LAYERS[-5:-1], channels),
            "channel": np.tile(np.arange(channels), 4),
            "iou": np.where(detects, 0.08, 0.01),
            "concept": random.choice(["red", "circle", "striped"], channels * 4),
            "category": random.choice(["shape", "texture", "colour"], channels * 4),
            "detector": detects,
            "state": "alive",
        }
    )


def _layers(row):
    """What the masks keep: over all layers at once more of the first layers than of the last."""
    depth = np.linspace(0.5, -0.5, len(LAYERS) - 2)
    ranked = METHODS[row["method"]]["scope"] == "global" and (
        row["criterion"] != "random" or "prune.counts_of" in row
    )
    share = np.clip(1 - row["rate"] + (depth * row["rate"] if ranked else 0 * depth), 0, 1)
    return pd.DataFrame(
        {
            "key": row["key"],
            "label": row["label"],
            "round": float(row["rounds"]),
            "layer": [f"{layer}.conv" for layer in LAYERS[1:-1]],
            "n_groups": 64.0,
            "n_kept": np.round(64 * share),
            "share": np.round(64 * share) / 64,
        }
    )


def without(frames, *columns):
    """The frames of an older sweep, whose trials have no such metrics."""
    return dataclasses.replace(frames, trials=frames.trials.drop(columns=list(columns)))


def log_sweep(frames, results, folder):
    """A store in `results` that holds the trials of the frames as one finished sweep; its tracker.

    folder: for the files that are logged.
    """
    tracker = Tracker(frames.study, results)
    parent = tracker.client.create_run(
        tracker.experiment_id,
        tags={
            "kind": "sweep",
            "sweep_key": frames.sweep_key,
            "mlflow.note.content": frames.purpose,
            "primary": frames.primary,
        },
        run_name=f"sweep {frames.study} {frames.sweep_key}",
    ).info.run_id
    keys = list(frames.trials["key"]) + [f"missing{i}" for i in range(frames.missing)]
    tracker.client.log_text(parent, "\n".join(keys), "plan/trial_keys.txt")
    for row in frames.trials.to_dict("records"):
        log_trial(tracker, parent, row, frames, folder / row["key"])
    tracker.end_run(parent, "FINISHED")
    return tracker


def log_trial(tracker, parent, row, frames, folder):
    """One finished run with the row's params and metrics and its tables."""
    metrics = {n: v for n, v in row.items() if "/" in n and n != "mis/dense_same_units"}
    params = {n: v for n, v in row.items() if "." in n and isinstance(v, str)}
    axes = ("method", "rate", "schedule", "criterion", "retraining", "seed")
    params |= {name: str(row[name]) for name in axes}
    params["prune.most_important_first"] = str(row["most_important_first"])
    params["prune.rounds"] = str(row["rounds"])
    if row["retraining"] == "finetune":
        params |= {"finetune.optimizer": "sgd", "finetune.lr": "0.005"}
        params["finetune.epochs"] = "3" if row["rounds"] == 1 else "1"
    run = tracker.start_run(
        row["label"], kind="trial", key=row["key"], parent=parent, params=params
    )
    tracker.log_metrics(run, metrics, 0, 1_700_000_000_000)
    folder.mkdir(parents=True)
    for name, table in {
        "units": frames.units,
        "epochs": frames.epochs,
        "dissection": frames.dissected,
        "layers": frames.layers,
        "predictions": frames.predictions,
    }.items():
        mine = (
            table[table["key"] == row["key"]].drop(columns=["key", "label"])
            if len(table)
            else table
        )
        if name == "predictions" and "dense" in mine and mine["dense"].isna().all():
            mine = mine.drop(columns="dense")  # as the dense network has none
        if len(mine):
            mine.to_parquet(folder / f"{name}.parquet", index=False)
    tracker.log_folder(run, folder)
    tracker.set_tags(run, {n: row[n] for n in ("outcome", *MADE_ON)})
    if row["stopped"]:
        tracker.set_tags(run, {n: v for n, v in row.items() if n.startswith("stopped")})
    tracker.end_run(run, "FINISHED")
    return run


def trial_as_pruned(criterion, images, seed, top1, **more):
    """A row of `SweepFrames.trials`: filters of all layers of a given network, nothing trained."""
    return {
        **{"method": "structured_global", "rate": 0.2, "schedule": "one_shot", "recipe": ""},
        **{"criterion": criterion, "prune.criterion": criterion, "retraining": "none"},
        **{"prune.samples_per_class": images, "prune.counts_of": "None", "seed": seed},
        **{"outcome": "completed", "network.weights": "file", "network.name": "squeezenet1_1"},
        **{"val/top1": top1, "key": f"{criterion}{images}{seed}{more.get('prune.counts_of', '')}"},
        **more,
    }
