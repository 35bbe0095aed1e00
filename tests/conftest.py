"""What every test starts with."""

import pytest
import torch
from hypothesis import settings

# The same examples in every run: a test that fails does so for all, and not once in a CI. To look
# for more, take derandomize out.
settings.register_profile("same", derandomize=True, deadline=None)
settings.load_profile("same")


@pytest.fixture(autouse=True)
def settings_of_the_process():
    """A trial sets threads and denormals for its whole process; a test leaves none of it behind."""
    threads = torch.get_num_threads()
    torch.set_flush_denormal(False)
    yield
    torch.set_num_threads(threads)
    torch.set_flush_denormal(False)
