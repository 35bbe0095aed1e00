"""Answers in plain words: what the numbers carry, and no more."""

from collections.abc import Iterable

from sweeps.report.statistics.correlation import POOLED
from sweeps.report.statistics.margin import Equivalence
from sweeps.report.statistics.matched import CAVEAT, CLOSE, Matched
from sweeps.report.statistics.population import CONTROLS, STRATA, Population
from sweeps.report.statistics.questions import ERROR, Answer
from sweeps.report.statistics.slope import Slope
from sweeps.report.statistics.survivors import OUTCOMES, Survivorship

FEW_DF = 6  # below, an interval is so wide that only a large change could have been seen


def sentence(answer: Answer) -> str:
    """The verdict, its size and interval, over which trials, and what limits it. One line."""
    return " ".join([_verdict(answer), *_limits(answer)])


def survivorship_sentence(found: Iterable[Survivorship]) -> str:
    """Whether leaving out what was stopped or collapsed would change the conclusion; "" where
    nothing was."""
    return " ".join(_both_ways(each) for each in found)


def _both_ways(found: Survivorship) -> str:
    gone = f"{_trials(found.n)} {OUTCOMES[found.outcome]}, scored and counted"
    if not found.changes:
        return f"{gone}; without them the conclusion is the same."
    verdicts = [
        " and ".join(each.verdict for each in way) for way in (found.survivors, found.everyone)
    ]
    return (
        f"{gone}. Without them the conclusion would be another ({verdicts[0]} instead of "
        f"{verdicts[1]}): do not leave them out."
    )


def left_out_sentence(population: Population, *, controls: bool = True) -> str:
    """What the answer is not over; "" where nothing was left out. controls: also those, which no
    answer is over."""
    counts = population.left_out.items()
    said = ", ".join(f"{n} {why}" for why, n in counts if controls or why not in CONTROLS)
    return f"Left out: {said}." if said else ""


def matched_sentence(found: Matched, stratum: str) -> str:
    """The networks that work as well as their control: how they differ from it."""
    kind, control = STRATA[stratum], "dense network"
    control += {"all": " (retrained, where they were)", "retrained": ", retrained"}.get(stratum, "")
    if not found.n:
        return (
            f"None of {found.n_all} {kind} networks is within {CLOSE:g} of the accuracy of the "
            f"{control}."
        )
    error = "" if found.error != found.error else f" ± {found.error:.3f} over trainings"
    return (
        f"{found.n} of {found.n_all} {kind} networks are within {CLOSE:g} of the accuracy of the "
        f"{control}, on one half of the validation images. On the other half they differ from it "
        f"by {found.accuracy:+.3f}, and their MIS by {found.change:+.3f}{error} (same units). "
        "A description, not a test: which networks match is partly chance."
    )


def _verdict(answer: Answer) -> str:
    slope = answer.slope
    x, y = answer.question.x_name, answer.question.y_name
    at = "at equal accuracy " if answer.question.at_accuracy else ""
    if slope is None:
        return f"Whether {at}{y} goes with {x} cannot be said of {_over(answer)}: {answer.unknown}."
    size = (
        f"{slope.change:+.3f} from {x} {slope.x_low:.2f} to {slope.x_high:.2f} "
        f"(95 % interval {slope.low:+.3f} to {slope.high:+.3f}"
        f"{'' if answer.primary or answer.n_tests == 1 else ', not corrected'})"
    )
    where = "within this training " if _is_within(answer) else ""
    direction = "rises" if slope.change > 0 else "falls"
    over = f"{where}over {_over(answer)}"
    margin = "" if answer.equivalence is None else f"{answer.equivalence.margin:.3f}"
    if answer.verdict == "related":
        return _capital(f"{at}{y} {direction} with {x} {over}: {size}.")
    if answer.verdict == "related, but little":
        return _capital(
            f"{at}{y} {direction} with {x} {over}, but by less than the {margin} that would "
            f"matter: {size}."
        )
    if answer.verdict == "equivalent to none":
        return _capital(
            f"{at}{y} does not change with {x} by as much as {margin} {over}: {size}, equivalent "
            "to none."
        )
    return f"Undecided whether {at}{y} goes with {x} {over}: {size}{_open(answer, slope)}."


def _open(answer: Answer, slope: Slope) -> str:
    """Why neither a relation nor none was found."""
    alone = []
    if slope.p < ERROR:
        alone.append("a relation")
    if answer.equivalence is not None and answer.equivalence.p < ERROR:
        alone.append("none")
    if alone:
        return f"; alone it would be called {' and '.join(alone)}, among {answer.n_tests} tests not"
    return f"; no change and {_a_large(answer.equivalence)} are both possible"


def _a_large(small: Equivalence | None) -> str:
    return "a large one" if small is None else f"one of {small.margin:.3f} or more"


def _is_within(answer: Answer) -> bool:
    return answer.slope is not None and answer.slope.over != "trainings"


def _over(answer: Answer) -> str:
    population = answer.population
    kind, n, names = STRATA[population.stratum], answer.n, population.trainings
    if not n:
        return f"0 {kind} networks"
    arms = population.n_arms
    of = names[0] if len(names) == 1 else f"{len(names)} trainings"
    seeds = population.points["seed"].unique()
    if len(names) == 1 and len(seeds) > 1:
        of += f", {len(seeds)} draws"
    elif len(names) == 1 and not of.startswith("seed ") and seeds[0]:
        of += f", seed {seeds[0]}"
    kind += f" network{'s' * (n != 1)}"
    kind += f" of {population.pair}" if population.pair not in ("", *names) else ""
    return f"{n} {kind} ({arms} arm{'s' * (arms != 1)}, {of})"


def _limits(answer: Answer) -> list[str]:
    points, slope = answer.population.points, answer.slope
    limits = []
    if slope is not None:
        limits += _limits_of(slope, answer)
        if answer.question.at_accuracy:
            limits.append(CAVEAT)
    if answer.other_way:
        limits.append(f"The other way round within {', '.join(answer.other_way)}.")
    pooled = [c.value for c in answer.correlations if (c.kind, c.over) == ("pearson", POOLED)]
    way = slope.change if slope is not None and answer.verdict.startswith("related") else 0.0
    if pooled and pooled[0] * way < 0:
        limits.append(
            f"Pooled over arms of different levels Pearson is {pooled[0]:+.2f}, which hides it."
        )
    for outcome, name in OUTCOMES.items():
        gone = int((points["outcome"] == outcome).sum())
        if gone:
            limits.append(f"{_trials(gone)} {name}, and counted as scored.")
    not_held = int((~points["held"]).sum())
    if not_held:
        limits.append(f"{not_held} of them with masks that were not held.")
    left_out = left_out_sentence(answer.population, controls=False)
    return [*limits, left_out] if left_out else limits


def _limits_of(slope: Slope, answer: Answer) -> list[str]:
    limits = []
    if slope.over != "trainings":
        limits.append("How another training would come out is not known.")
    if slope.p_arms < ERROR:
        limits.append(f"The arms differ in it ({p_value(slope.p_arms)}): this is their mean.")
    silent = answer.population.n_arms - slope.n_arms
    if silent:
        limits.append(f"{silent} of the arms cover too little of the range to count.")
    if slope.df < FEW_DF and slope.over == "trials":
        limits.append(f"Few points: {slope.df:.1f} degrees of freedom.")
    return limits


def p_value(p: float) -> str:
    return "p < .001" if p < 0.001 else f"p = {p:.3f}".replace("0.", ".")


def _trials(n: int) -> str:
    return f"{n} trial was" if n == 1 else f"{n} trials were"


def _capital(name: str) -> str:
    return name[0].upper() + name[1:]
