"""The calls of the hub that a rollout makes: module twins, their tags, configurations, direct methods.

By azure.iot.hub with a connection string, so at a hub on Azure as here. The SDK's errors become ours, with the hub's
words. Leaves out: jobs, which would do the tags of many twins at once.
"""

from __future__ import annotations

import json
import time
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, Final

from iotedge_lab.errors import EnvironmentProblem
from iotedge_lab.rollout.problems import RolloutProblem
from iotedge_lab.rollout.release import MODULE, EdgeState

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

_PAGE: Final = 100
_WAITS: Final = (
    0.5,
    2.0,
    8.0,
    20.0,
)  # s before a call that was throttled is made again


class Cloud:
    """A hub, by the connection string of a policy that may read and write twins and call methods (`service` and more).

    Calls may come from any thread. `module`: the module that all of it is about.
    """

    def __init__(
        self, connection_string: str, *, module: str = MODULE, pause: Callable[[float], None] = time.sleep
    ) -> None:
        """Raises `EnvironmentProblem` without azure-iot-hub, `ValueError` of the SDK's for a malformed string."""
        try:
            from azure.iot.hub import IoTHubConfigurationManager, IoTHubRegistryManager
        except ImportError as error:
            raise EnvironmentProblem(
                f"A rollout needs azure-iot-hub, and it cannot be imported ({error}): pip install azure-iot-hub six. "
                "It has wheels for x86_64 only; elsewhere take the devcontainer."
            ) from error
        self.module = module
        self._pause = pause
        self._registry = IoTHubRegistryManager.from_connection_string(connection_string)
        self._configurations = IoTHubConfigurationManager.from_connection_string(connection_string)
        # Else the SDK opens a connection for each call, and reads all authorities for each: 20 ms of work.
        self._open = ExitStack()
        for manager in (self._registry, self._configurations):
            self._open.enter_context(manager.protocol)

    def close(self) -> None:
        """Close its connections; those of other threads close when these end."""
        self._open.close()

    # -- twins -----------------------------------------------------------------------------------------

    def edges(self) -> list[EdgeState]:
        """Every edge that has the module, by device id. On Azure a query is some seconds behind."""
        from azure.iot.hub.models import QuerySpecification

        asked = QuerySpecification(query=f"SELECT * FROM devices.modules WHERE moduleId = '{self.module}'")
        found: list[EdgeState] = []
        token: str | None = None
        while True:
            page = self._call("list the edges", self._registry.query_iot_hub, asked, token, _PAGE)
            found += [EdgeState.read(_twin(each)) for each in page.items or []]
            token = page.continuation_token
            if not token:
                return sorted(found, key=lambda each: each.device)

    def edge(self, device: str) -> EdgeState:
        """One edge, as it is now."""
        twin = self._call(f"read the twin of {device}", self._registry.get_module_twin, device, self.module)
        return EdgeState.read(_twin(twin))

    def tag(self, device: str, **tags: Any) -> None:
        """Change tags of an edge's module twin; None takes one away."""
        from azure.iot.hub.models import Twin

        self._call(
            f"tag {device}", self._registry.update_module_twin, device, self.module, Twin(tags=tags), "*"
        )

    def desire(self, device: str, wanted: Mapping[str, Any]) -> None:
        """Change desired properties of an edge's module twin by hand; None takes one away."""
        from azure.iot.hub.models import Twin, TwinProperties

        patch = Twin(properties=TwinProperties(desired=dict(wanted)))
        self._call(
            f"set the twin of {device}", self._registry.update_module_twin, device, self.module, patch, "*"
        )

    # -- methods ---------------------------------------------------------------------------------------

    def call(
        self, device: str, method: str, payload: Mapping[str, Any], seconds: int = 30
    ) -> tuple[int, Any]:
        """A direct method of the module: its status and answer.

        404 stands for an edge that is not there now, 504 for one that does not answer, as the hub has it.
        """
        from azure.iot.hub.models import CloudToDeviceMethod
        from msrest.exceptions import HttpOperationError

        asked = CloudToDeviceMethod(
            method_name=method,
            payload=dict(payload),
            response_timeout_in_seconds=seconds,
            connect_timeout_in_seconds=0,
        )
        try:
            with _unreachable(f"call {method} of {device}"):
                done = _twice(self._registry.invoke_device_module_method, device, self.module, asked)
        except HttpOperationError as error:
            status = int(error.response.status_code)
            if status in (404, 504):
                return status, None
            raise RolloutProblem(f"The hub cannot call {method} of {device}: {_words(error)}") from error
        return int(done.status), done.payload

    # -- configurations --------------------------------------------------------------------------------

    def configurations(self, prefix: str) -> list[Any]:
        """The configurations whose ids begin so, as the SDK has them (Configuration)."""
        found = self._call("list the configurations", self._configurations.get_configurations)
        return [each for each in found if each.id.startswith(prefix)]

    def configure(
        self, name: str, content: Mapping[str, Any], condition: str, priority: int, labels: dict[str, str]
    ) -> None:
        """Have an automatic configuration: made, or made anew where one of this id differs.

        content: of the module's twin, `{"properties.desired.model": {...}}`.
        """
        from azure.iot.hub.models import Configuration, ConfigurationContent

        told = dict(content)
        wanted = Configuration(
            id=name,
            content=ConfigurationContent(module_content=told),
            target_condition=condition,
            priority=priority,
            labels=labels,
            schema_version="1.0",
        )
        there = self._named(name)
        if there is not None:
            if _says(there, wanted):
                return
            self.forget(name)
        try:
            self._call(f"take the configuration {name}", self._configurations.create_configuration, wanted)
        except RolloutProblem:
            # Of a call whose answer was lost, and that was made again, the second one is refused.
            there = self._named(name)
            if there is None or not _says(there, wanted):
                raise

    def _named(self, name: str) -> Any | None:
        return next((each for each in self.configurations(name) if each.id == name), None)

    def forget(self, name: str) -> None:
        """Delete a configuration; nothing where there is none."""
        from msrest.exceptions import HttpOperationError

        try:
            with _unreachable(f"delete the configuration {name}"):
                _twice(self._configurations.delete_configuration, name)
        except HttpOperationError as error:
            if error.response.status_code != 404:
                raise RolloutProblem(
                    f"The hub cannot delete the configuration {name}: {_words(error)}"
                ) from error

    # -- between us and the SDK ------------------------------------------------------------------------

    def _call(self, doing: str, function: Callable[..., Any], *arguments: Any) -> Any:
        from msrest.exceptions import HttpOperationError

        for wait in (*_WAITS, None):
            with _unreachable(doing):
                try:
                    return _twice(function, *arguments)
                except HttpOperationError as error:
                    if error.response.status_code != 429 or wait is None:
                        raise RolloutProblem(f"The hub cannot {doing}: {_words(error)}") from error
            self._pause(wait)
        raise AssertionError("unreachable: the last try returns or raises")


def _says(there: Any, wanted: Any) -> bool:
    """Whether a configuration gives the same to the same twins."""
    return (there.target_condition, there.priority, there.content.module_content) == (
        wanted.target_condition,
        wanted.priority,
        wanted.content.module_content,
    )


def _twice(function: Callable[..., Any], *arguments: Any) -> Any:
    """A call; once more where its connection was gone, as one that was kept open may be.

    The SDK does so itself but for POST. A hub that cannot be reached at all it has tried often enough.
    """
    from msrest.exceptions import ClientRequestError
    from urllib3.exceptions import ProtocolError

    try:
        return function(*arguments)
    except ClientRequestError as error:
        inner = error.inner_exception
        if not (inner is not None and inner.args and isinstance(inner.args[0], ProtocolError)):
            raise
    return function(*arguments)


@contextmanager
def _unreachable(doing: str) -> Iterator[None]:
    from msrest.exceptions import ClientRequestError

    try:
        yield
    except ClientRequestError as error:
        raise RolloutProblem(
            f"The hub cannot {doing}: it does not answer ({_root(error)}). Is it up? `iotedge-lab doctor` looks."
        ) from error


def _root(error: BaseException) -> str:
    """What is at the bottom of an error: the refused connection, not the names of all that passed it on."""
    while (deeper := error.__cause__ or error.__context__) is not None:
        error = deeper
    return str(error)[:200] or type(error).__name__


def _twin(found: Any) -> dict[str, Any]:
    """The SDK's Twin as the REST API writes it, as far as it is read here."""
    properties = found.properties
    return {
        "deviceId": found.device_id,
        "moduleId": found.module_id,
        "connectionState": found.connection_state,
        "tags": found.tags,
        "properties": {"desired": properties.desired, "reported": properties.reported} if properties else {},
    }


def _words(error: Any) -> str:
    """What the hub said: its message, else the status."""
    try:
        return str(json.loads(error.response.text)["Message"])[:300]
    except (ValueError, KeyError, TypeError, AttributeError):
        return f"HTTP {error.response.status_code}."
