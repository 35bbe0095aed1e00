"""What a network answers to each validation image: its first classes, and how sure it is."""

from collections import Counter
from collections.abc import Sequence

import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor

from trainables.datasets.names import shown

SHOWN = 5  # classes of each image
_AT_ONCE = 4096  # images: ImageNet's in float64 would take a gigabyte


def answers_table(
    logits: Tensor,
    labels: Tensor,
    class_names: Sequence[str],
    digest: str,
    dense: Tensor | None = None,
) -> pd.DataFrame:
    """A row per image, in their order: 34 bytes, so that 50,000 images take less than 2 MB.

    images: by what the image set is known, so that answers to the same ones can be compared.
    class: the name of its own class, truth: its number; answer_1 … answer_5: the classes that the
    network takes it for, the most probable first (of equal ones the lower number), and
    probability_1 … probability_5 (float32); fewer where there are fewer classes. dense: the class
    that the dense network answers; left out where none is given. Classes are int16, int32 where
    there are more than 32,768.

    logits: float [image, class]; labels, dense: int64 [image]; digest: of the image set.
    """
    n_classes = logits.shape[1]
    parts = [_first(part, min(SHOWN, n_classes)) for part in logits.split(_AT_ONCE)]
    classes, probabilities = (torch.cat(column) for column in zip(*parts, strict=True))
    number = torch.int16 if n_classes <= 2**15 else torch.int32

    def numbers(values: Tensor) -> object:
        return values.to(number).numpy()

    categories = pd.Index(_apart([shown(name) for name in class_names]))  # bytes that are no text
    names = pd.Categorical.from_codes(labels.numpy(), categories=categories)
    same = pd.Categorical.from_codes([0] * len(labels), categories=pd.Index([digest[:16]]))
    columns: dict[str, object] = {"images": same, "class": names.remove_unused_categories()}
    columns["truth"] = numbers(labels)
    for place, answer in enumerate(classes.unbind(1), start=1):
        columns[f"answer_{place}"] = numbers(answer)
    for place, probability in enumerate(probabilities.unbind(1), start=1):
        columns[f"probability_{place}"] = probability.numpy()
    if dense is not None:
        columns["dense"] = numbers(dense)
    return pd.DataFrame(columns)


def _first(logits: Tensor, n: int) -> tuple[Tensor, Tensor]:
    """The n most probable classes of each image, int64, and their probabilities, float32."""
    ranked, classes = logits.sort(dim=1, descending=True, stable=True)  # ties as argmax has them
    return classes[:, :n].clone(), F.softmax(ranked.double(), 1)[:, :n].float()


def _apart(names: Sequence[str]) -> list[str]:
    """Names that are all different: of those that come twice each with its number."""
    twice = {name for name, count in Counter(names).items() if count > 1}
    return [f"{name} ({place})" if name in twice else name for place, name in enumerate(names)]
