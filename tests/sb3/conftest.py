"""What all tests of Stable-Baselines3 share."""

import pytest
import torch


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """Small networks are slower with more."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
