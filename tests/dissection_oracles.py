"""Slow twins of dissection, by loops, in float64, from Bau et al. 2017, Sec. 2."""


def threshold(values, k):
    """Half-way between the k-th and the next largest of one unit's values."""
    ranked = sorted((float(value) for value in values), reverse=True)
    return (ranked[k - 1] + ranked[k]) / 2


def resized(cells, height, width, place=None):
    """Bilinear, edges clamped: rows of floats.

    place: (first, step): cell c is centred at first + c x step of the picture's side; None: cells
    share the picture equally.
    """
    h, w = len(cells), len(cells[0])

    def neighbours(pixel, n_pixels, n_cells):
        position = (pixel + 0.5) * n_cells / n_pixels - 0.5  # exact where ties must stay ties
        if place is not None:
            position = ((pixel + 0.5) / n_pixels - place[0]) / place[1]
        position = min(max(position, 0.0), n_cells - 1.0)
        lower = min(int(position), n_cells - 1)
        return lower, min(lower + 1, n_cells - 1), position - lower

    picture = []
    for y in range(height):
        top, bottom, down = neighbours(y, height, h)
        row = []
        for x in range(width):
            left, right, across = neighbours(x, width, w)
            above = (1 - across) * float(cells[top][left]) + across * float(cells[top][right])
            below = (1 - across) * float(cells[bottom][left]) + across * float(cells[bottom][right])
            row.append((1 - down) * above + down * below)
        picture.append(row)
    return picture


def mask(cells, limit, height, width, place=None):
    """Where a unit is on: above its threshold, in a map that is so in a cell."""
    if max(float(cell) for row in cells for cell in row) <= limit:
        return [[False] * width for _ in range(height)]
    return [[value > limit for value in row] for row in resized(cells, height, width, place)]


def shown(pixel_labels, image_labels, image, concept, y, x):
    if image_labels[image][concept]:
        return True
    return any(int(labels[y][x]) == concept + 1 for labels in pixel_labels[image])


def iou(maps, limits, pixel_labels, image_labels, category_of, place=None):
    """[unit][concept] of maps [image][unit]; limits: one threshold a unit."""
    n_images, n_units, n_concepts = len(maps), len(maps[0]), len(category_of)
    height, width = len(pixel_labels[0][0]), len(pixel_labels[0][0][0])
    pixels = [(y, x) for y in range(height) for x in range(width)]
    shows = [
        [
            [shown(pixel_labels, image_labels, i, c, y, x) for y, x in pixels]
            for i in range(n_images)
        ]
        for c in range(n_concepts)
    ]
    result = []
    for unit in range(n_units):
        on = []
        for i in range(n_images):
            rows = mask(maps[i][unit], limits[unit], height, width, place)
            on.append([rows[y][x] for y, x in pixels])
        scores = []
        for concept in range(n_concepts):
            shared = active = total = 0
            mates = [c for c in range(n_concepts) if category_of[c] == category_of[concept]]
            for i in range(n_images):
                shared += sum(a and b for a, b in zip(on[i], shows[concept][i], strict=True))
                total += sum(shows[concept][i])
                if any(any(shows[mate][i]) for mate in mates):
                    active += sum(on[i])
            either = active + total - shared
            scores.append(shared / either if either else 0.0)
        result.append(scores)
    return result
