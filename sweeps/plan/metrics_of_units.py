"""The metrics of the scores beside MIS and dissection: alike for all, one set for each value."""

from sweeps.plan.metric import Metric

VALUES = {
    "monosemanticity": "mean cosine of the images that a unit answers to, -1 to 1",
    "selectivity": "correlation of a unit with the class that it goes with best, -1 to 1",
    "auprc": "average precision with which a unit finds the class that it finds best, 0 to 1",
    "locality": "1 where a unit answers to one place of a picture, 0 where to all alike",
}
"""Value of a unit -> its meaning."""


def _of(value: str, meaning: str, label: str) -> tuple[Metric, ...]:
    return (
        Metric(
            f"{value}/mean",
            f"{meaning}; mean over alive units" if meaning else "",
            f"{label}, mean over alive units" if label else "",
            label,
            error=f"{value}/error",
            better=1,
        ),
        Metric(
            f"{value}/change",
            "that minus what *the same units* had in the dense network" if meaning else "",
            f"change of {label} of the same units" if label else "",
            f"change of {label}" if label else "",
            kind="change",
            error=f"{value}/change_error",
            better=1,
        ),
        Metric(
            f"{value}/shuffled_mean",
            "what chance gives: activations shuffled over the images, or over places"
            if meaning
            else "",
            searched=False,
        ),
        Metric(f"{value}/n_units", kind="count", searched=False),
        *(
            Metric(f"{value}/{name}", searched=False)
            for name in ("error", "change_error", "shuffled_error")
        ),
    )


OF_UNITS = (
    *(metric for value, meaning in VALUES.items() for metric in _of(value, meaning, value)),
    *_of("own/<score>", "", ""),
)
