"""Asking for log lines: the filters of `GetModuleLogs`, and the two forms of its answer.

Stands for "Retrieve logs from IoT Edge deployments" (learn.microsoft.com, IoT Edge, how-to-retrieve-iot-edge-logs):
`tail`, `since`, `until`, `loglevel`, `regex`; lines in the form `<{level}> {timestamp} {text}` tell their level
(syslog's, 0 to 7) and any other line has level 6. `tail` is applied last. Regular expressions are Python's; the
real agent's are .NET's, which is the same for what one writes by hand.
"""

from __future__ import annotations

import json
import re
from collections import deque
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from iotedge_lab.edge.agent.state import utc
from iotedge_lab.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from iotedge_lab.edge.agent.logs import LogLine

DEFAULT_LEVEL: Final = 6

_LINE: Final = re.compile(
    r"(?:<(?P<level>\d)>)?\s*"
    r"(?:(?P<time>\d{4}-\d{2}-\d{2}\s\d{2}:\d{2}:\d{2}[.,]\d{3}\s[+-]\d{2}:\d{2})\s)?\s*(?P<text>.*)",
    re.DOTALL,
)
_UNITS: Final = {"d": 86_400, "h": 3_600, "m": 60, "s": 1}
_PART: Final = re.compile(
    r"\s*(\d+(?:\.\d+)?)\s*(d|days?|h|hours?|hrs?|m|minutes?|mins?|s|seconds?|secs?)(?![a-z])\s*,?",
    re.IGNORECASE,
)
_NUMBER: Final = re.compile(r"\d{1,12}(?:\.\d+)?")


@dataclass(frozen=True, slots=True)
class Parsed:
    """A line taken apart: its level, the time that it tells itself ('' for none), and the rest of it."""

    level: int
    time: str
    text: str


def take_apart(text: str) -> Parsed:
    """Take a line apart by the recommended form."""
    match = _LINE.match(text)
    if match is None:
        return Parsed(DEFAULT_LEVEL, "", text)
    return Parsed(int(match["level"] or DEFAULT_LEVEL), match["time"] or "", match["text"] or text)


@dataclass(frozen=True, slots=True)
class LogFilter:
    """Which lines are asked for. `since` and `until` are times as `LogLine.time` has them."""

    tail: int | None = None
    since: str | None = None
    until: str | None = None
    level: int | None = None
    regex: re.Pattern[str] | None = None

    @classmethod
    def read(cls, given: Mapping[str, Any], now: float) -> LogFilter:
        """Read the `filter` of a request; `now` is what durations count back from. Raises UsageError."""
        try:
            regex = re.compile(given["regex"]) if given.get("regex") is not None else None
        except (re.error, TypeError, RecursionError) as error:
            raise UsageError(f"filter.regex is no regular expression: {error}.") from None
        return cls(
            _whole(given, "tail"),
            _moment(given, "since", now),
            _moment(given, "until", now),
            _whole(given, "loglevel"),
            regex,
        )

    def apply(self, lines: Iterable[LogLine]) -> Iterator[LogLine]:
        """The lines that pass, in their order."""
        passing = (line for line in lines if self._passes(line))
        return passing if self.tail is None else iter(deque(passing, maxlen=self.tail))

    def _passes(self, line: LogLine) -> bool:
        if (self.since is not None and line.time < self.since) or (
            self.until is not None and line.time > self.until
        ):
            return False
        if self.level is None and self.regex is None:
            return True
        parsed = take_apart(line.text)
        if self.level is not None and parsed.level > self.level:
            return False
        return self.regex is None or self.regex.search(parsed.text) is not None


def as_text(lines: Iterable[LogLine]) -> str:
    """The lines as they were written."""
    return "".join(f"{line.text}\n" for line in lines)


def as_json(lines: Iterable[LogLine], hub: str, device: str, module: str) -> str:
    """The lines as a JSON array of objects."""
    made = []
    for line in lines:
        parsed = take_apart(line.text)
        made.append(
            {
                "iothub": hub,
                "device": device,
                "id": module,
                "stream": line.stream,
                "loglevel": parsed.level,
                "text": parsed.text,
                "timestamp": line.time,
            }
        )
    return json.dumps(made, ensure_ascii=False, separators=(",", ":"))


def moment(text: str, now: float) -> float:
    """A moment in seconds since 1970 UTC. Raises UsageError.

    `text` is a duration back from `now` (`90m`, `2 days 3 hours`), an RFC 3339 time, or a UNIX time.
    """
    if _NUMBER.fullmatch(text.strip()):
        return float(text)
    at, seconds = 0, 0.0
    while match := _PART.match(text, at):
        seconds += float(match[1]) * _UNITS[match[2][0].lower()]
        at = match.end()
    if at and at == len(text):
        return now - seconds
    try:
        found = datetime.fromisoformat(text.strip())
    except ValueError:
        raise UsageError(
            f"{text!r} is no time: give a duration ('90m', '2 days 3 hours'), an RFC 3339 time "
            "('2026-11-20T10:30:00Z') or a UNIX time."
        ) from None
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()


def _moment(given: Mapping[str, Any], name: str, now: float) -> str | None:
    value = given.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise UsageError(f"filter.{name} is neither a duration nor a time.")
    try:
        return utc(min(max(moment(str(value), now), 0.0), 253_402_300_799.0))
    except (UsageError, OverflowError, ValueError) as error:
        raise UsageError(f"filter.{name}: {error}") from None


def _whole(given: Mapping[str, Any], name: str) -> int | None:
    value = given.get(name)
    if value is None:
        return None
    if isinstance(value, str) and value.strip().isdecimal():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise UsageError(f"filter.{name} is {value!r}, and a whole number from 0 belongs there.")
    return value
