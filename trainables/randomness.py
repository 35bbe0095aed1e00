"""Seeds by purpose: what two trials of one seed do alike they draw alike, and nothing else."""

from torch import Generator

from trainables.fields import digest_of


def stream(seed: int, *purpose: object) -> int:
    """The seed of one purpose, such as ("order", 3): the data order of the fourth epoch."""
    return int(digest_of([seed, *purpose])[:15], 16)


def generator(seed: int, *purpose: object) -> Generator:
    """A CPU generator at the start of that stream."""
    return Generator().manual_seed(stream(seed, *purpose))
