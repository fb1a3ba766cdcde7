"""A store with its queues, and a clock that stands still."""

import pytest
from edge_shelf import Shelf


@pytest.fixture
def shelf(tmp_path):
    made = Shelf(tmp_path)
    yield made
    made.store.close()
