import pytest
from small_studies import small_base

from trainables.datasets.loading import load_data
from trainables.training.dense import train_dense
from trainables.workspace import Workspace


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
    """A workspace with the dense network of the small base trained."""
    workspace = Workspace(tmp_path_factory.mktemp("results"))
    config = small_base()
    train_dense(config, load_data(config.data, workspace.cache), workspace.cache)
    return workspace
