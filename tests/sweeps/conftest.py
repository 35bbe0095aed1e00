"""What tests of several files begin with."""

import pytest


@pytest.fixture(scope="module")
def database(tmp_path_factory):
    """The address of an MLflow database, one per file: making and opening one takes seconds."""
    from sweeps.tracking.tracker import Tracker  # late: it takes seconds, and few tests ask for it

    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        return Tracker("made", tmp_path_factory.mktemp("results")).uri
