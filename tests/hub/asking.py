"""Asking a `House` queries."""

from iotedge_lab.hub.query.queries import MOST


async def page(house, text, count=MOST, token=None):
    return await house.hub.queries.page(text, count, token)


async def everything(house, text, count=MOST):
    """All rows, page by page."""
    found, token = [], None
    while True:
        answer = await page(house, text, count, token)
        found += answer.items
        token = answer.continuation
        if token is None:
            return found
