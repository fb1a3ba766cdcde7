"""The twin requests of a link that are under way: what was asked by which id, and what the answer means.

Azure: "Communicate with an IoT hub using the MQTT protocol", "Retrieve device twin properties" and "Update device
twin's reported properties".
"""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

from iotedge_lab.edge.errors import UpstreamAway
from iotedge_lab.edge.upstream.answers import refusal
from iotedge_lab.errors import ArgumentInvalid

if TYPE_CHECKING:
    from iotedge_lab.wire.topics import TwinResponse

_PATCH_LIMIT = (
    256 * 1024
)  # the hub says no from 32 KB on, and closes the connection of one that is far above it


class TwinRequests:
    """Futures by request id. An answer that nobody waits for is passed over."""

    def __init__(self) -> None:
        self._waiting: dict[str, asyncio.Future[tuple[TwinResponse, bytes]]] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    def ask(self, request_id: str) -> asyncio.Future[tuple[TwinResponse, bytes]]:
        """The answer to come; `forget` it in the end."""
        made = self._waiting[request_id] = asyncio.get_running_loop().create_future()
        return made

    def forget(self, request_id: str) -> None:
        """It is not waited for any more."""
        self._waiting.pop(request_id, None)

    def answered(self, answer: TwinResponse, body: bytes) -> None:
        """The hub has answered."""
        waiting = self._waiting.get(answer.request_id)
        if waiting is not None and not waiting.done():
            waiting.set_result((answer, body))

    def lost(self, reason: str) -> None:
        """The connection has ended: an answer can come no more."""
        for waiting in self._waiting.values():
            if not waiting.done():
                waiting.set_exception(UpstreamAway(f"The hub did not answer a twin request: {reason}."))


def read_twin(answer: TwinResponse, body: bytes) -> dict[str, Any]:
    """The twin in the answer to a request for it; raises what `answers.refusal` gives, or UpstreamAway."""
    if answer.status != 200:
        raise refusal(answer.status, "", _message(body))
    try:
        twin = json.loads(body)
    except (ValueError, RecursionError):
        twin = None
    if not isinstance(twin, dict) or not all(
        isinstance(twin.get(part), dict) for part in ("desired", "reported")
    ):
        raise UpstreamAway("The hub answered a request for the twin with something that is no twin.")
    return twin


def read_version(answer: TwinResponse, body: bytes) -> int:
    """The new version in the answer to a patch; raises as `read_twin` does."""
    if not 200 <= answer.status < 300:
        raise refusal(answer.status, "", _message(body))
    if answer.version is None:
        raise UpstreamAway("The hub took a patch of the reported properties and did not say their version.")
    return answer.version


def write_patch(patch: dict[str, Any]) -> bytes:
    """A patch as JSON. Raises ArgumentInvalid where it is none, or too long to be sent at all."""
    try:
        body = json.dumps(patch, separators=(",", ":"), allow_nan=False).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise ArgumentInvalid(
            f"the patch of reported properties cannot be JSON: {str(error)[:120]}."
        ) from error
    if len(body) > _PATCH_LIMIT:
        raise ArgumentInvalid(
            f"the patch of reported properties has {len(body):,} bytes; 32 KB is what a twin holds."
        )
    return body


def _message(body: bytes) -> str:
    """What the hub says of its refusal, as far as it can be read."""
    try:
        said = json.loads(body)
        text = said.get("message") or said.get("Message") or ""
    except (ValueError, AttributeError, RecursionError):
        text = body[:200].decode("utf-8", "replace")
    return str(text)[:500]
