"""Answers in plain words: what the numbers carry, and no more."""

from sweeps.report.population import STRATA, Population
from sweeps.report.statistics import Answer, Survivorship

FEW_DF = 6  # below, an interval is so wide that only a large change could have been seen


def sentence(answer: Answer) -> str:
    """The verdict, its size and interval, over which trials, and what limits it. One line."""
    return " ".join([_verdict(answer), *_limits(answer)])


def survivorship_sentence(found: Survivorship) -> str:
    """Whether leaving out the stopped trials would change the conclusion; "" where none was."""
    if not found.n_stopped:
        return ""
    stopped = f"{_trials(found.n_stopped)} stopped early"
    if not found.changes:
        return f"{stopped}, scored and counted; without them the conclusion is the same."
    return (
        f"{stopped}, scored and counted. Without them the conclusion would be another "
        f"({found.without_stopped.verdict} instead of {found.with_stopped.verdict}): "
        "do not leave them out."
    )


def left_out_sentence(population: Population) -> str:
    """What the answer is not over; "" where nothing was left out."""
    if not population.left_out:
        return ""
    said = ", ".join(f"{n} {reason}" for reason, n in population.left_out.items())
    return f"Left out: {said}."


def _verdict(answer: Answer) -> str:
    question, slope = answer.question, answer.slope
    x, y = question.x_name, question.y_name
    if slope is None:
        return f"Whether {y} goes with {x} cannot be said of {_over(answer)}: {answer.unknown}."
    size = (
        f"{slope.change:+.3f} from {x} {slope.x_low:.2f} to {slope.x_high:.2f} "
        f"(95 % interval {slope.low:+.3f} to {slope.high:+.3f})"
    )
    direction = "rises" if slope.change > 0 else "falls"
    margin = "" if question.margin is None else f"{question.margin:g}"
    if answer.verdict == "related":
        return f"{_capital(y)} {direction} with {x} over {_over(answer)}: {size}."
    if answer.verdict == "related, but little":
        return (
            f"{_capital(y)} {direction} with {x} over {_over(answer)}, but by less than the "
            f"{margin} that would matter: {size}."
        )
    if answer.verdict == "equivalent to none":
        return (
            f"{_capital(y)} does not change with {x} by as much as {margin} over "
            f"{_over(answer)}: {size}, equivalent to none."
        )
    return (
        f"Undecided whether {y} goes with {x} over {_over(answer)}: {size}, in which both no "
        f"change and {'a large one' if not margin else f'one of {margin} or more'} lie."
    )


def _over(answer: Answer) -> str:
    points, population = answer.population.points, answer.population
    kind = STRATA[population.stratum]
    n, arms = len(points), len(population.arms)
    if not n:
        return f"0 {kind} networks"
    return (
        f"{n} {kind} network{'s' * (n != 1)} ({arms} arm{'s' * (arms != 1)}, "
        f"{population.n_seeds} seed{'s' * (population.n_seeds != 1)})"
    )


def _limits(answer: Answer) -> list[str]:
    points, slope = answer.population.points, answer.slope
    limits = []
    if slope is not None and slope.note:
        limits.append(f"By {slope.how}, since {slope.note}.")
    if slope is not None and slope.df < FEW_DF:
        limits.append(f"Few points: {slope.df} degrees of freedom.")
    if len(points) and answer.population.n_seeds == 1:
        limits.append("One seed: how another training would come out is not known.")
    if answer.other_way:
        limits.append(f"The other way round within {', '.join(answer.other_way)}.")
    pooled = [c for c in answer.correlations if (c.kind, c.over) == ("pearson", "pooled")]
    if pooled and answer.verdict.startswith("related") and pooled[0].value * _direction(answer) < 0:
        limits.append(
            f"Pooled over arms of different levels Pearson is {pooled[0].value:+.2f}, "
            "which hides it."
        )
    stopped = int((points["outcome"] == "stopped").sum())
    if stopped:
        limits.append(f"{_trials(stopped)} stopped early, and counted as scored.")
    not_held = int((~points["held"]).sum())
    if not_held:
        limits.append(f"{not_held} of them with masks that were not held.")
    left_out = left_out_sentence(answer.population)
    return [*limits, left_out] if left_out else limits


def _direction(answer: Answer) -> float:
    return 0.0 if answer.slope is None else answer.slope.change


def _trials(n: int) -> str:
    return f"{n} trial was" if n == 1 else f"{n} trials were"


def _capital(name: str) -> str:
    return name[0].upper() + name[1:]
