"""An edge hub in this process."""

import pytest
from edge_yard import Yard


@pytest.fixture
async def yard(tmp_path):
    made = Yard(tmp_path)
    yield made
    await made.close()
