"""What the module under test has sent, kept in order until somebody reads it.

The testing utility of the real simulator prints it into its container's log; here it can be waited for as well.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
from collections import deque
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, Self

if TYPE_CHECKING:
    from iotedge_lab.wire.topics import Properties

MOST: Final = 10_000  # messages that are kept
MOST_BYTES: Final = 32 * 1024 * 1024  # of them; the oldest go first


@dataclass(frozen=True, slots=True)
class Output:
    """A message that the module has sent. `number` counts from 1, `time` is in seconds since 1970.

    `output` is the output's name, `properties` the sender's own and `system` those with a meaning, by the names that
    routes have for them (`message-id`, `content-type`, ...).
    """

    number: int
    time: float
    output: str
    body: bytes
    properties: Properties = field(default_factory=dict)
    system: dict[str, str] = field(default_factory=dict)

    @property
    def text(self) -> str:
        """The body as text; in base64 where it is not UTF-8."""
        try:
            return self.body.decode()
        except UnicodeDecodeError:
            return base64.b64encode(self.body).decode()

    @property
    def data(self) -> Any:
        """The body as JSON, else as text, else as bytes."""
        try:
            text = self.body.decode()
        except UnicodeDecodeError:
            return self.body
        try:
            return json.loads(text)
        except (ValueError, RecursionError):
            return text

    def to_json(self) -> dict[str, Any]:
        """For the control API."""
        return {
            "number": self.number,
            "time": self.time,
            "output": self.output,
            "body": base64.b64encode(self.body).decode(),
            "properties": self.properties,
            "system": self.system,
        }

    @classmethod
    def from_json(cls, found: dict[str, Any]) -> Self:
        """From `to_json`'s."""
        body = base64.b64decode(found["body"])
        return cls(
            found["number"], found["time"], found["output"], body, found["properties"], found["system"]
        )

    def line(self) -> str:
        """One line for a person: when, which output, what, and the properties if there are any."""
        when = datetime.fromtimestamp(self.time, UTC).astimezone()
        properties = ", ".join(
            name if value is None else f"{name}={value}" for name, value in sorted(self.properties.items())
        )
        return f"{when:%H:%M:%S} {self.output}: {self.text}" + (f"  ({properties})" if properties else "")

    def __repr__(self) -> str:
        shown = self.text if len(self.text) <= 200 else f"{self.text[:200]}..."
        properties = f", {self.properties}" if self.properties else ""
        return f"Output({self.output}: {shown}{properties})"


class Outputs:
    """The outputs of one run, for one loop."""

    def __init__(self) -> None:
        self._kept: deque[Output] = deque()
        self._bytes = 0
        self._news = asyncio.Event()
        self.last = 0
        """the number of the newest; 0: none has come"""

    def add(
        self, output: str, time: float, body: bytes, properties: Properties, system: dict[str, str]
    ) -> None:
        """One more; the oldest is forgotten where there are too many."""
        self.last += 1
        self._kept.append(Output(self.last, time, output, body, properties, system))
        self._bytes += len(body)
        while len(self._kept) > MOST or (self._bytes > MOST_BYTES and len(self._kept) > 1):
            self._bytes -= len(self._kept.popleft().body)
        news, self._news = self._news, asyncio.Event()
        news.set()

    def after(self, number: int, most: int) -> list[Output]:
        """Up to `most` outputs that came after that number, in order."""
        skipped = max(0, number - (self.last - len(self._kept)))
        return [self._kept[at] for at in range(skipped, min(len(self._kept), skipped + most))]

    async def wait(self, number: int, count: int, seconds: float) -> None:
        """Wait until `count` outputs have come after that number, or the time is over."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while self.last < number + count:
                    await self._news.wait()
