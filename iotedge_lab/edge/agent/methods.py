"""The direct methods of `$edgeAgent`: ping, RestartModule, GetModuleLogs, GetTaskStatus.

Stands for "Communicate with edgeAgent using built-in direct methods" and "Retrieve logs from IoT Edge deployments"
(learn.microsoft.com, IoT Edge, how-to-edgeagent-direct-method, how-to-retrieve-iot-edge-logs), and for the agent's
answers to what is wrong (Azure/iotedge, RequestManager): 400 for a request that cannot be read, 500 for one that
cannot be done, each with `{"message": ...}`. Names are taken without regard to case, as the agent's code does.

Left out: UploadModuleLogs and UploadSupportBundle, which need a blob container of Azure's, and so there is never a
task: GetTaskStatus answers `Unknown`, as the agent does for an id that it does not know.
"""

from __future__ import annotations

import asyncio
import base64
import gzip
import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

from iotedge_lab.edge.agent.log_query import LogFilter, as_json, as_text
from iotedge_lab.errors import LabError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from iotedge_lab.clock import Clock
    from iotedge_lab.edge.agent.logs import LogLine, LogSnapshot

NAMES: Final = ("ping", "RestartModule", "GetModuleLogs", "GetTaskStatus")
MAX_LOGS: Final = 127_000  # bytes of all logs in one answer; a method's payload may have 128 KB
ALL: Final = "all"  # an id that stands for every module


class Agent(Protocol):
    """What the methods need of the agent: `Supervisor` has it."""

    def log_names(self) -> list[str]:
        """The modules whose logs can be read."""
        ...

    def read_log(self, name: str) -> LogSnapshot:
        """One module's log as it is now."""
        ...

    async def restart(self, name: str) -> None:
        """Restart a module. Raises UsageError where it is not there or not running."""
        ...


@dataclass(frozen=True, slots=True)
class MethodAnswer:
    """What a direct method answers: its status, and its payload as JSON (None: none)."""

    status: int
    payload: Any = None


@dataclass(frozen=True, slots=True)
class LogsRequest:
    """A request of GetModuleLogs, read. `items` are patterns for module names, each with its filter."""

    items: tuple[tuple[str, LogFilter], ...]
    gzip: bool = False
    json: bool = False

    @classmethod
    def read(cls, payload: Any, now: float) -> LogsRequest:
        """Read a payload; `now` is what durations in it count back from. Raises UsageError."""
        given = _request(payload)
        items = given.get("items")
        listed = [items] if isinstance(items, dict) else items
        if not isinstance(listed, list) or not listed:
            raise UsageError('items is missing: a list such as [{"id": ".*", "filter": {"tail": 10}}].')
        return cls(
            tuple(_item(item, now) for item in listed),
            gzip=_choice(given, "encoding", ("none", "gzip")) == "gzip",
            json=_choice(given, "contentType", ("text", "json")) == "json",
        )

    def chosen(self, names: Sequence[str]) -> dict[str, LogFilter]:
        """The modules that are asked for, each with the filter of the first item that names it."""
        found: dict[str, LogFilter] = {}
        for pattern, wanted in self.items:
            every = pattern.lower() == ALL
            for name in names:
                if every or re.search(pattern, name, re.IGNORECASE):
                    found.setdefault(name, wanted)
        return found


async def answer(
    name: str, payload: Any, agent: Agent, clock: Clock, *, hub: str, device: str
) -> MethodAnswer:
    """Do what a direct method asks. Never raises for what is asked; `hub` and `device` stand in JSON logs."""
    try:
        match name.lower():
            case "ping":
                return MethodAnswer(200)
            case "restartmodule":
                return await _restart(payload, agent)
            case "getmodulelogs":
                return await _logs(payload, agent, clock, hub, device)
            case "gettaskstatus":
                return _task_status(payload)
        raise UsageError(f"Command '{name}' not found. The supported commands are - {','.join(NAMES)}")
    except UsageError as error:
        return MethodAnswer(400, {"message": str(error)})
    except (LabError, OSError) as error:
        return MethodAnswer(500, {"message": str(error)})


async def _restart(payload: Any, agent: Agent) -> MethodAnswer:
    module = _text(_request(payload), "id")
    try:
        await agent.restart(module)
    except UsageError as error:  # the request is well formed, and what it asks for cannot be done now
        return MethodAnswer(500, {"message": str(error)})
    return MethodAnswer(200)


def _task_status(payload: Any) -> MethodAnswer:
    correlation = _text(_request(payload), "correlationId")
    return MethodAnswer(200, {"status": "Unknown", "message": "", "correlationId": correlation})


async def _logs(payload: Any, agent: Agent, clock: Clock, hub: str, device: str) -> MethodAnswer:
    request = LogsRequest.read(payload, clock.now())
    chosen = request.chosen(agent.log_names())
    left = MAX_LOGS
    made: list[dict[str, Any]] = []
    for name, wanted in chosen.items():
        # Where the lines are read and searched the loop goes on; a log may have many megabytes.
        lines = wanted.apply(agent.read_log(name).lines())
        entry = await asyncio.to_thread(_entry, name, lines, request, hub, device)
        size = len(json.dumps(entry, ensure_ascii=False).encode())
        if size > left:
            entry = {"id": name, "payloadBytes": None, "payload": _too_large(size, left)}
        else:
            left -= size
        made.append(entry)
    return MethodAnswer(200, made)


def _entry(
    name: str, lines: Iterable[LogLine], request: LogsRequest, hub: str, device: str
) -> dict[str, Any]:
    """One module's part of the answer: `payload` is text, `payloadBytes` is base64 of gzip; the other is null."""
    content = as_json(lines, hub, device, name) if request.json else as_text(lines)
    if not request.gzip:
        return {"id": name, "payloadBytes": None, "payload": content}
    packed = base64.b64encode(gzip.compress(content.encode(), mtime=0)).decode()
    return {"id": name, "payloadBytes": packed, "payload": None}


def _too_large(size: int, left: int) -> str:
    return (
        f"The payload is too large for a direct method. GetModuleLogs supports up to {MAX_LOGS} bytes of logs. The "
        f"current request returned {size} bytes, and {left} are left. Try reducing the size of the logs by setting "
        "the 'tail', 'since' and 'until' fields in the filter, or encoding to 'gzip'."
    )


# -- reading requests --------------------------------------------------------------------------------------


def _request(payload: Any) -> Mapping[str, Any]:
    """A payload as an object of schema 1. Some callers send the JSON as text."""
    if isinstance(payload, str) and payload.strip():
        try:
            payload = json.loads(payload)
        except (ValueError, RecursionError) as error:
            raise UsageError(f"Error parsing command payload because of error - {error}") from None
    if not isinstance(payload, dict) or not payload:
        raise UsageError("Request payload not found")
    version = payload.get("schemaVersion")
    if not isinstance(version, str) or not re.fullmatch(r"1(\.\d+)*", version.strip()):
        raise UsageError(f'schemaVersion is {version!r}, and "1.0" belongs there.')
    return payload


def _text(given: Mapping[str, Any], name: str) -> str:
    value = given.get(name)
    if not isinstance(value, str) or not value.strip():
        raise UsageError(f"{name} is missing, or no text.")
    return value


def _item(item: Any, now: float) -> tuple[str, LogFilter]:
    if not isinstance(item, dict):
        raise UsageError('each of items is an object such as {"id": ".*", "filter": {"tail": 10}}.')
    pattern = _text(item, "id")
    try:
        re.compile(pattern)
    except (re.error, RecursionError) as error:
        raise UsageError(f"items: id {pattern!r} is no regular expression: {error}.") from None
    given = item.get("filter")
    if given is not None and not isinstance(given, dict):
        raise UsageError(f"items: filter of {pattern!r} is no object.")
    return pattern, LogFilter.read(given or {}, now)


def _choice(given: Mapping[str, Any], name: str, among: Iterable[str]) -> str:
    """One of some words, the first where it is absent."""
    words = tuple(among)
    value = given.get(name)
    if value is None:
        return words[0]
    if not isinstance(value, str) or value.lower() not in words:
        raise UsageError(f"{name} is {value!r}, and one of {', '.join(words)} belongs there.")
    return value.lower()
