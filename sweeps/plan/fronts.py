"""Which points nothing beats in two objectives, and how much they cover."""

import numpy as np


def on_front(values: np.ndarray) -> np.ndarray:
    """bool [point]: those that no other equals in all objectives and beats in one.

    values: float [point, objective], more is better.
    """
    no_worse = np.all(values[None] >= values[:, None], axis=2)
    better = np.any(values[None] > values[:, None], axis=2)
    return np.asarray(~np.any(no_worse & better, axis=1))


def hypervolume(values: np.ndarray) -> float:
    """The area that points cover above (0, 0): of the union of the rectangles from there to each
    (Zitzler & Thiele 1998); a point below 0 in one objective covers nothing.

    values: float [point, 2], more is better.
    """
    area, height = 0.0, 0.0
    for right, top in sorted(np.clip(values, 0, None).tolist(), reverse=True):
        area += right * max(0.0, top - height)
        height = max(height, top)
    return area
