"""Labelled concepts: what there is to detect, and which pixels of a batch show it."""

from dataclasses import dataclass

import torch
from torch import Tensor

from mis.picking import true_positions


@dataclass(frozen=True)
class ConceptSpec:
    """The concepts of a data set and the category of each.

    Raises ValueError without concepts, for names that come twice, and for lengths that differ.
    """

    names: tuple[str, ...]
    category: tuple[str, ...]  # one per concept

    def __post_init__(self) -> None:
        if not self.names or len(self.names) != len(self.category):
            raise ValueError(
                f"every concept needs a name and a category, and there must be one, got "
                f"{len(self.names)} names and {len(self.category)} categories"
            )
        if len(set(self.names)) < len(self.names):
            twice = next(name for name in self.names if self.names.count(name) > 1)
            raise ValueError(f"the names of concepts must differ, {twice!r} comes twice")

    @property
    def categories(self) -> tuple[str, ...]:
        """Each once, in the order of their first concepts."""
        return tuple(dict.fromkeys(self.category))

    @property
    def category_of(self) -> Tensor:
        """int64 [concept], index into categories."""
        return torch.tensor([self.categories.index(name) for name in self.category])


@dataclass(frozen=True)
class ConceptBatch:
    """Images, and which concepts they show where; all on the network's device.

    A pixel may show several concepts, each in a map of its own, but none twice; an image-level
    concept is on every pixel of its image.
    """

    images: Tensor  # float [batch, 3, height, width], as the network takes them
    pixel_labels: Tensor  # int32 or int64 [batch, maps, H, W], 0 for none, else concept + 1
    image_labels: Tensor  # bool [batch, concept]


@dataclass(frozen=True)
class Segments:
    """A batch cut into segments: the pixels of an image that show the same set of concepts.

    Pixels are counted through the batch, row by row; a run is a stretch of one segment in a row,
    counted likewise. Only concepts that the batch shows are listed; 1.0 and 0.0 stand for yes and
    no, for products.
    """

    size: tuple[int, int]  # height and width of the maps
    run_of: Tensor  # int32 [pixel], the run it is in
    run_end: Tensor  # int64 [run], the first pixel after it
    of_run: Tensor  # int64 [run], its segment
    pixels: Tensor  # int64 [segment], how many
    concepts: Tensor  # int64 [listed], those on any pixel
    shows: Tensor  # float64 [listed, segment], whether it shows the concept
    carries: Tensor  # float64 [category, segment], whether its image shows the category anywhere

    def __len__(self) -> int:
        return len(self.pixels)

    @property
    def of_pixel(self) -> Tensor:
        """int64 [batch, H, W], each pixel's segment."""
        return self.of_run.index_select(0, self.run_of).view(-1, *self.size)


def check_batch(batch: ConceptBatch, spec: ConceptSpec) -> None:
    """Raise ValueError unless the labels have the shapes and types that go with the spec."""
    n, labels, concepts = len(batch.images), batch.pixel_labels, batch.image_labels
    if labels.ndim != 4 or len(labels) != n or labels.dtype not in (torch.int32, torch.int64):
        raise ValueError(
            f"pixel_labels of {n} images must be int32 or int64 [{n}, maps, H, W], "
            f"got {labels.dtype} {tuple(labels.shape)}"
        )
    if concepts.dtype != torch.bool or concepts.shape != (n, len(spec.names)):
        raise ValueError(
            f"image_labels of {n} images and {len(spec.names)} concepts must be bool "
            f"[{n}, {len(spec.names)}], got {concepts.dtype} {tuple(concepts.shape)}"
        )


def segment(batch: ConceptBatch, spec: ConceptSpec) -> Segments:
    """Cut a batch into its segments.

    Raises ValueError as `check_batch` does, for labels that are no concept, and for a concept that
    is on a pixel twice (in two maps, or in a map and as an image-level concept).
    """
    check_batch(batch, spec)
    n, n_maps, height, width = batch.pixel_labels.shape
    n_labels, n_pixels = len(spec.names) + 1, height * width
    run_of, first = _runs(batch.pixel_labels)
    run_end = torch.cat([first[1:], first.new_tensor([n * n_pixels])])
    of_run = first // n_pixels  # its image
    # The first pixel of each run, in the first of its image's maps.
    place = first + of_run * ((n_maps - 1) * n_pixels)
    flat = batch.pixel_labels.flatten()
    image, shows = torch.arange(n, device=flat.device), batch.image_labels
    for _ in range(n_maps):
        labels = flat.index_select(0, place)
        place += n_pixels
        _refuse_unknown(labels, spec)
        # Split every segment by the labels of this map; numbered in the order of the pairs.
        pairs = of_run * n_labels + labels
        met = torch.zeros(len(shows) * n_labels, dtype=torch.bool, device=pairs.device)
        met[pairs] = True
        of_run = (met.cumsum(0) - 1).index_select(0, pairs)
        before, label = met.view(-1, n_labels).nonzero(as_tuple=True)
        shows, image = shows[before], image[before]
        labelled = label > 0
        _refuse_twice(shows[labelled, label[labelled] - 1], label[labelled], spec)
        shows[labelled, label[labelled] - 1] = True
    concepts = shows.any(0).nonzero().squeeze(1)
    lengths = (run_end - first).double()
    return Segments(
        size=(height, width),
        run_of=run_of,
        run_end=run_end,
        of_run=of_run,
        pixels=torch.bincount(of_run, lengths, minlength=len(image)).long(),
        concepts=concepts,
        shows=shows[:, concepts].T.double(),
        carries=_carried(shows, image, n, spec).T.double(),
    )


def _runs(pixel_labels: Tensor) -> tuple[Tensor, Tensor]:
    """The run of every pixel, int32, and the first pixel of every run, int64."""
    n, _, height, width = pixel_labels.shape
    begins = pixel_labels.new_zeros(n, height, width, dtype=torch.bool)
    begins[..., :1] = True
    for labels in pixel_labels.unbind(1):
        begins[..., 1:] |= labels[..., 1:] != labels[..., :-1]
    return begins.flatten().cumsum(0, dtype=torch.int32) - 1, true_positions(begins)


def _carried(shows: Tensor, image: Tensor, n_images: int, spec: ConceptSpec) -> Tensor:
    """bool [segment, category]"""
    segments, concept = shows.nonzero(as_tuple=True)
    carried = shows.new_zeros(n_images, len(spec.categories))
    carried[image[segments], spec.category_of.to(shows.device)[concept]] = True
    return carried[image]


def _refuse_unknown(labels: Tensor, spec: ConceptSpec) -> None:
    if labels.numel() and (labels.min() < 0 or labels.max() > len(spec.names)):
        raise ValueError(
            f"pixel_labels must lie in 0 … {len(spec.names)} (the number of concepts), "
            f"got {int(labels.min())} … {int(labels.max())}"
        )


def _refuse_twice(already: Tensor, label: Tensor, spec: ConceptSpec) -> None:
    if already.any():
        name = spec.names[int(label[already][0]) - 1]
        raise ValueError(f"a pixel must show a concept once, {name!r} is on one twice")
