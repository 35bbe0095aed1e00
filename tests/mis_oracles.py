"""Slow twins of mis/, by loops, in float64, from the paper's text (arXiv 2402.14859)."""

import math


def ranked_images(activations, priority):
    """Image ids of one unit, least activating first; equals in order of their priority."""
    images = range(len(activations))
    return sorted(images, key=lambda image: (float(activations[image]), int(priority[image])))


def rank_blocks(ranked, n_tasks, k, query_rank=None):
    """((bins, queries) of the plus side, of the minus side); a bin is a list of n_tasks images.

    query_rank: of the most extreme query; None: the first rank that is no explanation.
    """
    first = n_tasks * k if query_rank is None else query_rank
    sides = []
    for extreme_first in (list(reversed(ranked)), list(ranked)):
        bins = [extreme_first[b * n_tasks : (b + 1) * n_tasks] for b in range(k)]
        sides.append((bins, extreme_first[first : first + n_tasks]))
    return sides


def cosine(a, b):
    product = sum(x * y for x, y in zip(a, b, strict=True))
    return product / math.sqrt(sum(x * x for x in a) * sum(y * y for y in b))


def neg_sq_distance(a, b):
    return -sum((x - y) ** 2 for x, y in zip(a, b, strict=True))


SIMILARITY = {"cosine": cosine, "neg_sq_distance": neg_sq_distance}


def mean_similarity(query, explanations, vectors, metric):
    f = SIMILARITY[metric]
    return sum(f(vectors[query], vectors[e]) for e in explanations) / len(explanations)


def task_margin(plus, minus, plus_query, minus_query, vectors, metric):
    """D+ - D- of one task."""

    def difference(query):
        to_plus = mean_similarity(query, plus, vectors, metric)
        return to_plus - mean_similarity(query, minus, vectors, metric)

    return difference(plus_query) - difference(minus_query)


def unit_score(tasks, vectors, slope, metric):
    """(MIS, task accuracy) of one unit; tasks: (plus, minus, plus_query, minus_query) each."""
    confidence, solved = 0.0, 0.0
    for task in tasks:
        margin = task_margin(*task, vectors, metric)
        confidence += 1 / (1 + math.exp(-slope * margin))
        solved += 0.5 if margin == 0 else float(margin > 0)
    return confidence / len(tasks), solved / len(tasks)
