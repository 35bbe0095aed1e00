"""Optuna's own plots of a search."""

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import optuna
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState
from optuna.visualization import matplotlib as plots

_FEWEST = 2  # finished trials without which there is nothing to draw


def search_figures(study: optuna.Study) -> dict[str, Figure]:
    """Name -> figure: for each objective its history, its parameters' importances and slices; and
    the Pareto front of two or three objectives.

    The study must have set_metric_names. Empty where fewer than two trials are finished.
    """
    if len(study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))) < _FEWEST:
        return {}
    names = study.metric_names or []
    drawn: dict[str, Figure] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        # Optuna warns that importances are of low values, which is seen to here.
        warnings.simplefilter("ignore", UserWarning)
        for index, name in enumerate(names):
            suffix, value, low = "", None, None  # Optuna knows what it is after
            if len(names) > 1:
                suffix = f"_{name.replace('/', '_')}"
                high = study.directions[index] == StudyDirection.MAXIMIZE
                value, low = _objective(index), _objective(index, sign=-1 if high else 1)
            for kind, axes in {
                "history": plots.plot_optimization_history(study, target=value, target_name=name),
                "importances": plots.plot_param_importances(study, target=low, target_name=name),
                "slices": plots.plot_slice(study, target=value, target_name=name),
            }.items():
                drawn[f"search_{kind}{suffix}"] = _finish(axes)
        if len(names) in (2, 3):
            drawn["search_pareto_front"] = _finish(plots.plot_pareto_front(study))
    return drawn


def _objective(index: int, sign: int = 1) -> Callable[[FrozenTrial], float]:
    return lambda trial: sign * trial.values[index]


def _finish(axes: Any) -> Figure:
    """The figure of what Optuna drew: one pair of axes, or an array of them."""
    figure = np.ravel(axes)[0].get_figure()
    if isinstance(axes, Axes):
        figure.set_size_inches(7.6, 4.4)
        figure.set_layout_engine("tight")
    else:  # the bar of colours beside the slices is in the way of every layout engine
        figure.set_size_inches(3.2 * np.size(axes) + 1.2, 4.4)
    return figure
