"""Leave with each trial in MLflow the atlas of its units beside the dense network's."""

import tempfile
from pathlib import Path

from sweeps.report.atlas.one_file import one_file
from sweeps.report.atlas.write import PAGE, Made
from sweeps.tracking.tracker import Tracker
from sweeps.tracking.uploads import upload
from trainables.fields import digest_of

_TAG = "atlas"
"""Of a run: the digest of its page, so that the same one is not sent again."""


def leave_pages(tracker: Tracker, made: Made, folder: Path) -> str:
    """Log a page to the run of each trial that the atlas in `folder` shows; "" or, where the server
    never takes one (a proxy's limit, say), why not: then the others are not sent, either.

    Raises what MLflow's client raises when the server is away.
    """
    for run_id, parts in made.pages.items():
        text = one_file(folder / PAGE, made.about, parts)
        digest = digest_of([text])
        if tracker.client.get_run(run_id).data.tags.get(_TAG) == digest:
            continue
        with tempfile.TemporaryDirectory() as place:
            (Path(place) / PAGE).write_text(text)
            for _, why_not in upload(tracker.client, run_id, Path(place), [PAGE]):
                if why_not:
                    return why_not
        tracker.set_tags(run_id, {_TAG: digest})
    return ""
