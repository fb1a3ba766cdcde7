"""An edge hub in this process."""

import pytest
from edge_yard import ALL_UP, Yard


@pytest.fixture
async def yard(tmp_path):
    made = Yard(tmp_path)
    yield made
    await made.close()


@pytest.fixture
async def leaf(yard):
    """A connected leaf device whose link is up, and its link."""
    yard.scope("a", "leaf:leaf")
    yard.links.let_in = True
    yard.apply(ALL_UP)
    client = await yard.leaf("leaf")
    link = yard.link("leaf")
    await yard.settle()
    assert link.connected
    return client, link
