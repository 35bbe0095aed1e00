"""LRP written from its definition: one connection at a time, in Python floats, no autograd."""

import math


def padded(maps, size):
    """maps: [channel][row][column]; zeros around."""
    width = len(maps[0][0]) + 2 * size
    rows = [[[0.0] * size + list(row) + [0.0] * size for row in one] for one in maps]
    blank = [[0.0] * width for _ in range(size)]
    return [blank + one + blank for one in rows]


def connections(maps, weight, padding, stride=1):
    """For every output (filter, row, column): the inputs it reads, as (input channel, row, column,
    kernel row, kernel column, weight), positions counted with the padding."""
    height, width = len(maps[0]) + 2 * padding, len(maps[0][0]) + 2 * padding
    size = len(weight[0][0])
    for o in range(len(weight)):
        for row in range(0, height - size + 1, stride):
            for column in range(0, width - size + 1, stride):
                reads = []
                for i in range(len(weight[0])):
                    for u in range(size):
                        for v in range(size):
                            reads.append((i, row + u, column + v, u, v, weight[o][i][u][v]))
                yield (o, row // stride, column // stride), reads


def convolve(maps, weight, bias, padding, stride=1):
    source = padded(maps, padding)
    outputs = {}
    for place, reads in connections(maps, weight, padding, stride):
        outputs[place] = bias[place[0]] + sum(source[i][r][c] * w for i, r, c, _, _, w in reads)
    return nested(outputs)


def nested(values):
    """{(channel, row, column): value} -> [channel][row][column]"""
    channels, rows, columns = (max(place[d] for place in values) + 1 for d in range(3))
    return [
        [[values[(k, r, c)] for c in range(columns)] for r in range(rows)] for k in range(channels)
    ]


def spread(products, bias, relevance, rule, stabilizer):
    """Shares of one output's relevance, one for each product a w. bias: None when it is ignored."""
    products_and_bias = [*products, bias or 0.0]
    up = sum(p for p in products_and_bias if p > 0)
    down = sum(p for p in products_and_bias if p < 0)
    total = sum(products_and_bias)
    if rule == "epsilon":
        if abs(total) < stabilizer:
            total = math.copysign(stabilizer, total) if total else stabilizer
        return [relevance * p / total for p in products]
    alpha, beta = 1.0, 0.0
    if rule == "alpha2beta1" and up > 0 and down < 0:
        alpha, beta = 2.0, 1.0
    up, down = max(up, stabilizer), min(down, -stabilizer)
    return [relevance * (alpha * p / up if p > 0 else -beta * p / down) for p in products]


def explain_convolution(maps, weight, bias, relevance, padding, rule, stabilizer, stride=1):
    """Returns the relevance of the inputs [i][r][c] and of the weight [o][i][u][v]."""
    source = padded(maps, padding)
    below = [[[0.0] * len(row) for row in one] for one in source]
    of_weight = [[[[0.0 for _ in kr] for kr in ki] for ki in ko] for ko in weight]
    for (o, row, column), reads in connections(maps, weight, padding, stride):
        products = [source[i][r][c] * w for i, r, c, _, _, w in reads]
        got = relevance[o][row][column]
        constant = None if bias is None else bias[o]
        shares = spread(products, constant, got, rule, stabilizer)
        for (i, r, c, u, v, _), share in zip(reads, shares, strict=True):
            below[i][r][c] += share
            of_weight[o][i][u][v] += share
    end = None if padding == 0 else -padding
    return [[row[padding:end] for row in one[padding:end]] for one in below], of_weight


def with_batchnorm(weight, bias, gamma, beta, mean, var, eps):
    """The weight and bias of y -> gamma (y - mean) / sqrt(var + eps) + beta after a convolution."""
    scales = [g / math.sqrt(v + eps) for g, v in zip(gamma, var, strict=True)]
    scaled = [
        [[[value * s for value in kr] for kr in ki] for ki in ko]
        for ko, s in zip(weight, scales, strict=True)
    ]
    bias = bias or [0.0] * len(weight)
    return scaled, [(b - m) * s + t for b, m, s, t in zip(bias, mean, scales, beta, strict=True)]


def pooled(maps):
    """2 x 2 max pooling with stride 2; also where each maximum stood, the first of equals."""
    values, winners = {}, {}
    for k, one in enumerate(maps):
        for r in range(len(one) // 2):
            for c in range(len(one[0]) // 2):
                window = [(2 * r + u, 2 * c + v) for u in range(2) for v in range(2)]
                best = max(window, key=lambda p, one=one: one[p[0]][p[1]])
                values[(k, r, c)], winners[(k, r, c)] = one[best[0]][best[1]], best
    return nested(values), winners


def mapped(function, *maps):
    return [
        [[function(*v) for v in zip(*rows, strict=True)] for rows in zip(*ones, strict=True)]
        for ones in zip(*maps, strict=True)
    ]


def relu(maps):
    return mapped(lambda v: max(v, 0.0), maps)


def response_normed(maps, norm):
    """A value over (k + alpha / n times the squares of its n neighbours, itself one of them) to
    the power of beta, torch's way of writing alpha; channels beyond the ends are not there."""
    half = norm.size // 2

    def at(channel, row, column):
        near = range(max(0, channel - half), min(len(maps), channel + half + 1))
        squares = sum(maps[k][row][column] ** 2 for k in near)
        return maps[channel][row][column] / (norm.k + norm.alpha / norm.size * squares) ** norm.beta

    rows, columns = len(maps[0]), len(maps[0][0])
    places = [(k, r, c) for k in range(len(maps)) for r in range(rows) for c in range(columns)]
    return nested({place: at(*place) for place in places})


def unpooled(of_small, winners, like):
    """The relevance of what was pooled: the winners' alone."""
    below = mapped(lambda _: 0.0, like)
    for (k, r, c), (row, column) in winners.items():
        below[k][row][column] += of_small[k][r][c]
    return below


def explain_stem(image, layers, label, rules, norm):
    """One image through a convolution, ReLU, max pooling, LRN; again, with LRN before the pooling;
    the mean over positions, a head. Relevance passes an LRN as it is.

    layers: name -> (weight, bias); padding is 1. Returns "logits", and name -> (relevance of
    outputs, of the weight), biases ignored.
    """
    eps = rules.stabilizer
    first = relu(convolve(image, *layers["first"], 1))
    halved, first_winners = pooled(first)
    seen = response_normed(halved, norm)
    second = relu(convolve(seen, *layers["second"], 1))
    small, winners = pooled(response_normed(second, norm))
    count = len(small[0]) * len(small[0][0])
    means = [sum(sum(row) for row in one) / count for one in small]
    head, biases = layers["head"]
    products = [w * m for w, m in zip(head[label], means, strict=True)]
    of_means = spread(products, None, 1.0, rules.head, eps)
    of_small = [
        [[v * got / count / mean if mean else 0.0 for v in row] for row in one]
        for one, got, mean in zip(small, of_means, means, strict=True)
    ]
    of_second = unpooled(of_small, winners, second)
    of_seen, of_weight = explain_convolution(
        seen, layers["second"][0], None, of_second, 1, rules.rule, eps
    )
    of_first = unpooled(of_seen, first_winners, first)
    _, of_first_weight = explain_convolution(
        image, layers["first"][0], None, of_first, 1, rules.rule, eps
    )
    logits = [
        b + sum(w * m for w, m in zip(ws, means, strict=True))
        for ws, b in zip(head, biases, strict=True)
    ]
    return {
        "logits": logits,
        "first": (of_first, of_first_weight),
        "second": (of_second, of_weight),
    }


def explain_block(image, layers, label, rules):
    """One image through `networks_for_tests`' twin in the tests: stem, two branches that are
    concatenated, a residual sum of two convolutions, max pooling, the mean over positions, a head.

    layers: name -> (weight, bias, padding), BatchNorm included; "head" -> (weight [class][channel],
    bias). Returns name -> (relevance of outputs, of inputs, of weight).
    """
    eps, keep = rules.stabilizer, rules.bias == "keep"
    values = {"stem": image}
    out = {}

    def run(name):
        weight, bias, padding = layers[name]
        out[name] = convolve(values[name], weight, bias, padding)
        return out[name]

    stem = relu(run("stem"))
    values["one"] = values["three"] = stem
    joined = relu(run("one")) + relu(run("three"))
    values["main"] = values["shortcut"] = joined
    summed = mapped(lambda a, b: a + b, run("main"), run("shortcut"))
    small, winners = pooled(relu(summed))
    count = len(small[0]) * len(small[0][0])
    means = [sum(sum(row) for row in one) / count for one in small]
    head, head_bias = layers["head"]
    logits = [
        b + sum(w * m for w, m in zip(ws, means, strict=True))
        for ws, b in zip(head, head_bias, strict=True)
    ]
    if rules.target == "argmax":
        label = max(range(len(logits)), key=lambda k: logits[k])

    found = {}
    products = [w * m for w, m in zip(head[label], means, strict=True)]
    of_means = spread(products, head_bias[label] if keep else None, 1.0, rules.head, eps)
    of_sum = mapped(lambda _: 0.0, summed)
    for (k, r, c), (row, column) in winners.items():
        if means[k] > 0:
            of_sum[k][row][column] += of_means[k] * small[k][r][c] / count / means[k]

    def explain(name, relevance):
        weight, bias, padding = layers[name]
        below, of_weight = explain_convolution(
            values[name], weight, bias if keep else None, relevance, padding, rules.rule, eps
        )
        found[name] = (relevance, below, of_weight)
        return below

    of_joined = None
    for name in ("main", "shortcut"):
        part = mapped(lambda r, p, s: r * p / s if r else 0.0, of_sum, out[name], summed)
        below = explain(name, part)
        of_joined = below if of_joined is None else mapped(lambda a, b: a + b, of_joined, below)
    split = len(out["one"])
    of_stem = mapped(
        lambda a, b: a + b, explain("one", of_joined[:split]), explain("three", of_joined[split:])
    )
    explain("stem", of_stem)
    return found
