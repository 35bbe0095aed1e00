"""Work done ahead of its use, by threads."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

_AHEAD = 2  # items per thread
T = TypeVar("T")
U = TypeVar("U")


def prepared(prepare: Callable[[T], U], items: Sequence[T], workers: int) -> Iterator[U]:
    """`prepare` of each item, in order, by threads that work ahead; 0: when it is asked for."""
    if workers == 0:
        yield from map(prepare, items)
        return
    with ThreadPoolExecutor(workers) as threads:
        waiting: deque[Future[U]] = deque()
        try:
            for item in items:
                waiting.append(threads.submit(prepare, item))
                if len(waiting) > _AHEAD * workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:  # whoever reads may stop early
            for future in waiting:
                future.cancel()
