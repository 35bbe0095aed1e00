"""A plan for people: what would run, what it may save, and what it costs."""

from collections import Counter
from collections.abc import Callable, Collection, Hashable, Sequence
from functools import partial

from rich.table import Table

from sweeps.plan.cost import Estimate, Speed, dense_of, disk, duration, estimate
from sweeps.plan.forecast import stopping_sentences
from sweeps.plan.machine import Machine, at_once, slots, trial_resources
from sweeps.plan.planner import Plan
from sweeps.plan.sweep import Sweep
from trainables.config import TrialConfig
from trainables.workspace import size_shown

_TOLD = (1.0, 4.0, 8.0)  # GPUs


def plan_table(plan: Plan, done: Collection[str]) -> Table:
    """What would run, a line a kind of trial."""
    rows: Counter[tuple[str, ...]] = Counter()
    finished: Counter[tuple[str, ...]] = Counter()
    for config in plan.configs:
        retraining = "as it is" if config.retraining == "none" else config.retraining
        criterion = "none" if config.prune is None else config.prune.criterion
        kind = (config.method, criterion, config.schedule, retraining, str(config.n_epochs))
        rows[kind] += 1
        finished[kind] += config.key in done
    what = f"{len(plan.configs)} trials"
    if plan.sweep.search is not None:
        search = plan.sweep.search
        what = f"{len(plan.configs)} grid trials, then up to {search.n_trials} searched"
        if search.winners:
            n = 2 * search.winners * len(search.again)
            what += f", then up to {n} of winners on other seeds"
    table = Table(title=f"study {plan.sweep.name}: {what}")
    for heading in ("method", "criterion", "schedule", "retraining", "epochs each"):
        table.add_column(heading)
    table.add_column("trials", justify="right")
    table.add_column("done", justify="right")
    for row, count in rows.items():
        table.add_row(*row, str(count), str(finished[row]))
    return table


def plan_summary(plan: Plan, done: Collection[str]) -> str:
    """One sentence: how much is left to run."""
    left = plan.remaining(done)
    epochs = sum(config.n_epochs for config in left)
    scores = sum(config.n_scores for config in left)
    size = plan.inputs.counted(plan.configs[0]).data.train_images
    images = "all training images" if size is None else f"{size:,} images"
    trained = trained_for(plan, done)
    recipes = {
        dense_of(c): c.network.recipe
        for c in left
        if c.network.is_trained and dense_of(c) not in trained
    }
    dense = sum(recipe.epochs for recipe in recipes.values() if recipe is not None)
    before = f", after {dense} of the dense network where it is not there yet" if dense else ""
    return (
        f"{_rates_said(plan)}{len(left)} of {len(plan.configs)} "
        f"trials to run, {scores} scores and {epochs} epochs of {images} in all{before}"
    )


def trained_for(plan: Plan, done: Collection[str]) -> set[Hashable]:
    """The dense networks that trials of the plan which are done have left, see `dense_of`."""
    counted = plan.inputs.counted
    finished = [counted(c) for c in plan.configs if c.key in done and c.network.is_trained]
    return {dense_of(config) for config in finished}


def _rates_said(plan: Plan) -> str:
    amounts = {c.prune.amount: c.rate for c in plan.configs if c.prune is not None}
    said = ", ".join(sorted(amounts, key=lambda amount: (amounts[amount], amount)))
    return f"rates {said}; " if said else ""


def axes_summary(sweep: Sweep, given: Collection[str] = ()) -> str:
    """One sentence: what GRID may name, and the values of each. given: fields that SET sets."""
    values: dict[str, dict[str, None]] = {}
    fields: dict[str, set[str]] = {}
    for grid in sweep.grids:
        for name, points in grid.axes.items():
            values.setdefault(name, {}).update(dict.fromkeys(points))
            fields.setdefault(name, set()).update(*points.values())
    idle = {name for name, its in fields.items() if its and its <= set(given)}
    axes = [
        f"{name} ({'one value, by SET' if name in idle else ', '.join(points)})"
        for name, points in values.items()
    ]
    return f"axes: {'; '.join(axes)}"


def stopping_summary(
    plan: Plan, done: Collection[str], machine: Machine, *, chosen: bool = False
) -> list[str]:
    """What early stopping may save, or would, of the trials that are left; see forecast."""
    n = slots(plan.sweep, machine)
    return stopping_sentences(plan.remaining(done), plan.sweep, n, chosen=chosen)


def cost_table(
    sweep: Sweep,
    to_come: Sequence[TrialConfig],
    speed: Speed,
    machines: Sequence[Machine],
    trained: Collection[Hashable] = (),
    n_classes: Callable[[TrialConfig], int | None] = lambda _: None,
) -> Table:
    """A row per machine: how many trials run at once there, what they need, hours.

    trained: dense networks that are there; n_classes: of a trial's images: see `estimate`.
    """
    table = Table(
        title=f"at {speed.train:,.0f} images/s in training and {speed.evaluate:,.0f} in evaluation "
        "a trial",
        title_justify="left",
    )
    table.add_column("on")
    for heading in ("trials at once", "they need", "hours of a device", "done in"):
        table.add_column(heading, justify="right")
    with_slots = partial(estimate, to_come, speed, trained=trained, n_classes=n_classes)
    for machine in machines:
        table.add_row(*_cost_row(sweep, machine, with_slots))
    return table


def _cost_row(
    sweep: Sweep, machine: Machine, with_slots: Callable[[int], Estimate]
) -> tuple[str, ...]:
    parts = [f"{machine.gpus:g} GPU{'s' * (machine.gpus != 1)}"] if machine.gpus else []
    parts += [] if machine.cpus is None else [f"{machine.cpus:g} CPUs"]
    try:
        resources = trial_resources(sweep, machine.resources)
    except ValueError as error:
        return ", ".join(parts), "0", str(error), "", ""
    n = at_once(resources, machine.resources)
    cost = with_slots(n)
    share, unit = (resources["gpu"], "GPU") if resources["gpu"] else (resources["cpu"], "CPU")
    return (
        ", ".join(parts),
        str(n),
        f"{n * resources['cpu']:g} CPUs, {size_shown(n * resources['memory'])} of memory",
        f"{cost.seconds * share / 3600:,.1f} {unit}-hours",
        duration(cost.finish),
    )


def idle_sentence(sweep: Sweep, machine: Machine) -> str:
    """Which GPUs a machine would not use, and what would; "" where it uses all that it can."""
    try:
        resources = trial_resources(sweep, machine.resources)
    except ValueError:
        return ""
    n, wanted = at_once(resources, machine.resources), 0
    if resources["gpu"]:
        wanted = at_once({**resources, "cpu": 0.0, "memory": 0.0}, machine.resources)
    if n >= wanted or machine.cpus is None:
        return ""
    said = f"{n} trials at once use {n * resources['gpu']:g} of {machine.gpus:g} GPUs"
    cpus = int(machine.cpus // wanted)
    if n == at_once({**resources, "cpu": 0.0}, machine.resources) or not cpus:
        return f"{said}: {wanted} would need {size_shown(wanted * resources['memory'])} of memory"
    return f"{said}, a trial takes {resources['cpu']:g} CPUs: SET=cpus_per_trial={cpus} uses all"


def disk_sentence(to_come: Sequence[TrialConfig], n_at_once: int) -> str:
    """One sentence: what the sweep would fill, and with what."""
    found = disk(to_come, n_at_once)
    parts = {
        "images that are decoded or drawn once": found.images,
        "dense networks": found.weights,
        "vectors of images": found.vectors,
        "what trials leave in MLflow": found.trials,
        "trials under way": found.running,
    }
    said = ", ".join(f"{size_shown(n)} {what}" for what, n in parts.items() if n)
    return f"disk: about {size_shown(found.bytes)} ({said})"


def machines_of(
    here: Machine, gpus: float | None, cpus: float | None, given: bool
) -> list[Machine]:
    """Those that a plan tells of, the one that is meant first; then 1, 4 and 8 GPUs.

    gpus, cpus: asked for on the command line, of another machine than this. given: whether the
    speed of a trial was, so that it may be that on its share of any GPU.
    """
    first = here if gpus is None and cpus is None else Machine(cpus, gpus or 0.0)
    counts = _TOLD if first.gpus or given else ()
    return [first, *(Machine(cpus, n) for n in counts if n != first.gpus)]
