"""`--then`: a command of the user's, run when a sweep has ended, however: by SIGTERM, too."""

import os
import signal
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from sweeps.terminal import refuse
from trainables.workspace import own_path

_PAGE = "report.html"


def run_then(
    command: str, code: int, study: str, results: Path, environment: Mapping[str, str]
) -> None:
    """Have /bin/sh run the command where the user stands, and wait for it.

    It is told SECATEUR_EXIT_CODE, SECATEUR_STUDY, SECATEUR_RESULTS (absolute) and SECATEUR_REPORT,
    the page of the study's report, "" where there is none. environment: else its own. What it ends
    with changes nothing, and is said where it is not 0.
    """
    told = {
        "SECATEUR_EXIT_CODE": str(code),
        "SECATEUR_STUDY": study,
        "SECATEUR_RESULTS": str(results.resolve()),
        "SECATEUR_REPORT": _page(results, study),
    }
    try:
        ended = subprocess.run(command, shell=True, env={**environment, **told}).returncode
    except KeyboardInterrupt:
        ended = 130
    except (OSError, ValueError) as error:  # too long for the system, say
        refuse(f"{command}: {error}", "--then could not be run")
        return
    if ended:
        refuse(f"{command} ended with {ended}; of the sweep it says nothing", "--then failed")


def _page(results: Path, study: str) -> str:
    try:
        page = own_path(results, "report", study, _PAGE)
    except ValueError:
        return ""
    return str(page) if page.is_file() else ""


@contextmanager
def sigterm_like_ctrl_c() -> Iterator[None]:
    """Schedulers of machines send it before they kill; Ray winds down on Ctrl-C only."""

    def interrupt(*_: object) -> None:
        if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as a script's background job has it
            signal.signal(signal.SIGINT, signal.default_int_handler)
        os.kill(os.getpid(), signal.SIGINT)

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
