"""An edge asks for a model, and gets an address that reads it for some minutes: `fetchModel`.

The request comes as a message, for a module may send one whenever it likes, and an edge that was offline asks when it
is back; the answer goes by direct method, as it holds a secret, and only while the edge is there to use it. A request
is a question, not a right: what is answered is what the edge's twin names now, whatever the message says.
"""

from __future__ import annotations

import logging
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, Self

from iotedge_lab.errors import LabError

if TYPE_CHECKING:
    from collections.abc import Callable

    from iotedge_lab.rollout.cloud import Cloud
    from iotedge_lab.rollout.messages import Request
    from iotedge_lab.rollout.publisher import Publisher
    from iotedge_lab.rollout.release import Release

log = logging.getLogger(__name__)

METHOD: Final = "fetchModel"
_THREADS: Final = 8  # a method waits for its edge; others are not to wait for that one
_SECONDS: Final = 30

Result = Literal["given", "not wanted", "not there", "refused", "failed"]


@dataclass(frozen=True, slots=True)
class Answered:
    """What became of a request. It holds no address: this may be logged and shown."""

    device: str
    version: str
    result: Result
    detail: str = ""


class Answering:
    """Answers requests, several at a time, one at a time for each edge and version. `on_answer` hears of each."""

    def __init__(
        self,
        cloud: Cloud,
        publisher: Publisher,
        *,
        on_answer: Callable[[Answered], None] | None = None,
    ) -> None:
        self._cloud = cloud
        self._publisher = publisher
        self._on_answer = on_answer
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="rollout-answer")
        self._under_way: set[tuple[str, str, str]] = set()
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Answer no more; those under way are brought to their end."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def ask(self, request: Request) -> None:
        """Have a request answered soon; one that is being answered is not answered twice. Does not wait."""
        key = (request.sender.device, request.name, request.version)
        with self._lock:
            if key in self._under_way:
                return
            self._under_way.add(key)
        try:
            self._pool.submit(self._work, request, key)
        except RuntimeError:  # closed meanwhile: the edge asks again, and somebody else answers
            with self._lock:
                self._under_way.discard(key)

    def _work(self, request: Request, key: tuple[str, str, str]) -> None:
        try:
            answered = self.answer(request)
        except Exception as error:  # a thread of a pool must not die of it, nor keep it for itself
            if not isinstance(error, LabError):
                log.exception("a request could not be answered")
            answered = Answered(request.sender.device, request.version, "failed", str(error)[:300])
        finally:
            with self._lock:
                self._under_way.discard(key)
        log.info("%s", answered)
        if self._on_answer is not None:
            self._on_answer(answered)

    def answer(self, request: Request) -> Answered:
        """Answer one now. Raises `RolloutProblem` where hub or storage fail."""
        device, version = request.sender.device, request.version
        if request.sender.module != self._cloud.module:
            return Answered(device, version, "not wanted", f"asked by the module {request.sender.module!r}")
        edge = self._cloud.edge(device)
        wanted = next(
            (each for each in (edge.wanted, edge.wanted_challenger) if each and _asked_for(request, each)),
            None,
        )
        if wanted is None:
            return Answered(device, version, "not wanted", "its twin names another model now")
        payload = {
            "name": wanted.name,
            "version": wanted.version,
            "sha256": wanted.sha256,
            "url": self._publisher.read_url(wanted),
        }
        status, _ = self._cloud.call(device, METHOD, payload, _SECONDS)
        if status in (404, 504):
            return Answered(device, version, "not there", f"the hub answered {status}; it will ask again")
        if status >= 300:
            return Answered(device, version, "refused", f"the edge answered {status}")
        return Answered(device, version, "given")


def _asked_for(request: Request, release: Release) -> bool:
    return (request.name, request.version, request.sha256, request.blob) == (
        release.name,
        release.version,
        release.sha256,
        release.blob,
    )
