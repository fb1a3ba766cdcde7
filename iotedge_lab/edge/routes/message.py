"""A message on its way through the routes: who sent it, its properties, and its body, read once and only if asked.

A condition sees the body only when the sender said what it is: content type `application/json` and content
encoding utf-8, utf-16 or utf-32, as the IoT Hub's message routing asks too (learn.microsoft.com, IoT Hub,
iot-hub-devguide-routing-query-syntax, "Query based on message body"). `body_fault` says what is missing.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, Final

from iotedge_lab.edge.routes.values import UNDEFINED, Value

if TYPE_CHECKING:
    from collections.abc import Mapping

_ENCODINGS: Final = {"utf-8": "utf-8-sig", "utf-16": "utf-16", "utf-32": "utf-32"}

# The runtime's JSON reader turns such text into a date, and dates are none of the language's types.
_DATE: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:?\d\d)?")

# Names in a condition, without `$` and in lower case, to the names that the wire gives (wire.topics).
SYSTEM_NAMES: Final[Mapping[str, str]] = {
    "messageid": "message-id",
    "correlationid": "correlation-id",
    "cid": "correlation-id",
    "userid": "user-id",
    "contenttype": "content-type",
    "contentencoding": "content-encoding",
    "outputname": "iothub-outputname",
    "connectiondeviceid": "iothub-connection-device-id",
    "connectionmoduleid": "iothub-connection-module-id",
    "absexpirytime": "absolute-expiry-time",
    "expirytimeutc": "absolute-expiry-time",
    "messageschema": "iothub-message-schema",
    "creationtimeutc": "iothub-creation-time-utc",
    "componentname": "dt-subject",
}


class RoutedMessage:
    """One message before the routes. Not to be changed once made: what is read of the body is kept.

    `source_module` is None for a leaf device; `device` is the sending device; `output` is the module's output, or
    None; `system` is keyed as `wire.topics.SYSTEM_PROPERTIES` names them; `properties` are the sender's own;
    `twin_change` marks a twin change notification, which comes from no module's output.
    """

    __slots__ = (
        "_document",
        "_fault",
        "_folded",
        "body",
        "device",
        "output",
        "properties",
        "source_module",
        "system",
        "twin_change",
    )

    def __init__(
        self,
        source_module: str | None,
        output: str | None,
        system: Mapping[str, str],
        properties: Mapping[str, str | None],
        body: bytes,
        *,
        device: str | None = None,
        twin_change: bool = False,
    ) -> None:
        self.source_module = source_module
        self.output = output
        self.system = system
        self.properties = properties
        self.body = body
        self.device = device
        self.twin_change = twin_change
        self._folded: dict[str, str | None] | None = None
        self._document: dict[str, Any] | None = None
        self._fault: str | None = None

    @property
    def source(self) -> str:
        """The path that a route's source is held against."""
        if self.twin_change:
            return "/twinChangeNotifications/"
        if self.source_module is None:
            return "/messages/events/"
        if not self.output:
            return f"/messages/modules/{self.source_module}/"
        return f"/messages/modules/{self.source_module}/outputs/{self.output}/"

    def own_property(self, name: str) -> Value:
        """An application property: its text, None where it has no value, UNDEFINED where there is none.

        Names are looked up without regard to case; an exact match goes before.
        """
        value = self.properties.get(name, UNDEFINED)
        if value is not UNDEFINED or not self.properties:
            return value
        if self._folded is None:
            self._folded = {key.lower(): value for key, value in self.properties.items()}
        return self._folded.get(name.lower(), UNDEFINED)

    def system_property(self, name: str) -> Value:
        """A system property by its wire name, in lower case; UNDEFINED where there is none."""
        value = self.system.get(name)
        if value is not None:
            return value
        if name == "iothub-connection-module-id":
            value = self.source_module
        elif name == "iothub-outputname":
            value = self.output
        elif name == "iothub-connection-device-id":
            value = self.device
        return UNDEFINED if value is None else value

    @property
    def body_fault(self) -> str | None:
        """Why conditions cannot see the body, in a sentence for a log, or None where they can. Reads the body."""
        if self._document is None and self._fault is None:
            self._read()
        return self._fault

    def body_value(self, path: tuple[str | int, ...]) -> Value:
        """The value at a path of the body: names of members and places in arrays.

        None (null) where the body does not have it; UNDEFINED where the body cannot be read, and for objects,
        arrays and dates.
        """
        document = self._document
        if document is None:
            if self._fault is None:
                self._read()
            document = self._document
            if document is None:
                return UNDEFINED
        at: Any = document
        try:
            for step in path:
                if isinstance(step, int) and not isinstance(at, list):
                    return None  # a text has no members, though Python would count its characters
                at = at[step]
        except (KeyError, IndexError, TypeError):
            return None
        return _value(at)

    def _read(self) -> None:
        """Read the body once; after it, either `_document` or `_fault` is set."""
        kind = self.system.get("content-type", "")
        encoding = self.system.get("content-encoding", "")
        if kind.lower() != "application/json":
            self._fault = (
                f"its content type is {kind!r}; a sender sets content_type to 'application/json' for conditions "
                "on $body"
            )
            return
        codec = _ENCODINGS.get(encoding.lower())
        if codec is None:
            self._fault = (
                f"its content encoding is {encoding!r}; a sender sets content_encoding to 'utf-8' for conditions "
                "on $body"
            )
            return
        try:
            document = json.loads(self.body.decode(codec))
        except (ValueError, RecursionError) as problem:
            self._fault = f"its body is not JSON ({problem})"
            return
        if not isinstance(document, dict):
            self._fault = "its body is JSON but no object"
            return
        self._document = document


def _value(found: Any) -> Value:
    if isinstance(found, str):
        return UNDEFINED if found[10:11] == "T" and _DATE.fullmatch(found) else found
    if found is None or isinstance(found, bool):
        return found
    if isinstance(found, float):
        return found
    if isinstance(found, int):
        try:
            return float(found)
        except OverflowError:
            return float("inf") if found > 0 else float("-inf")
    return UNDEFINED
