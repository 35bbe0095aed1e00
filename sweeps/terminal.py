"""What is printed: nothing in a name or an error can steer the terminal or show a password."""

import os
import re
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.text import Text

from sweeps.addresses import without_secrets
from trainables.workspace import SetAside

_LONGEST = 3_000  # characters of a sentence; the rest of it is what somebody gave us
_WORD_AFTER = 10.0  # seconds
# Control characters but tab and newline, those that turn the direction of writing, and bytes of a
# file's name that are no text.
_STEERING = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)


def printable(text: str) -> str:
    """The text with `\\x1b` and the like for characters that steer a terminal, and no passwords."""
    return _STEERING.sub(lambda m: m[0].encode("unicode_escape").decode(), without_secrets(text))


class Terminal(Console):
    """rich's Console, of which all text is printable."""

    def __init__(self, **options: Any) -> None:
        super().__init__(emoji=False, **options)

    def render_str(self, text: str, **options: Any) -> Text:
        return super().render_str(printable(text), **options)

    def on_broken_pipe(self) -> None:
        """Whoever read, `head` say, has seen enough: the work goes on, and rich would end it."""
        self.quiet = True
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self.file.fileno())  # else Python complains as it ends
        os.close(nowhere)


def terminal() -> Terminal:
    """Of this process. What its encoding cannot say is replaced."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    # On a pipe there is no width to adapt to.
    return Terminal() if sys.stdout.isatty() else Terminal(width=110)


def refuse(sentence: str, word: str = "refused") -> None:
    """Print why, on the standard error."""
    if len(sentence) > _LONGEST:
        sentence = f"{sentence[: _LONGEST // 2]} … {sentence[-_LONGEST // 2 :]}"
    Terminal(stderr=True).print(f"[bold red]{word}:[/] {escape(sentence)}", soft_wrap=True)


@contextmanager
def plain_warnings() -> Iterator[None]:
    """Files that are set aside are told in a sentence, without the line of the program."""
    with warnings.catch_warnings():
        others = warnings.showwarning
        console = Terminal(stderr=True)

        def show(message: Warning | str, category: type[Warning], *where: Any, **on: Any) -> None:
            if issubclass(category, SetAside):
                console.print(escape(str(message)), style="yellow", soft_wrap=True)
            else:
                others(message, category, *where, **on)

        warnings.simplefilter("always", SetAside)
        warnings.showwarning = show
        yield


@contextmanager
def word_after(what: str, seconds: float = _WORD_AFTER) -> Iterator[None]:
    """Say what is waited for, where the wait is long."""
    console = Terminal(stderr=True)
    sentence = f"waiting for {escape(what)} (Ctrl-C ends it)"
    timer = threading.Timer(seconds, lambda: console.print(sentence, soft_wrap=True))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
