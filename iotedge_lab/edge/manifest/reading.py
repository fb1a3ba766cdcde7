"""Reading deployment manifests and the twins that IoT Hub makes of them; all problems at once.

`load` takes a `deployment.template.json` or `deployment.json` as it lies in a solution; `read_agent` and `read_hub`
take the desired properties that the agent and the hub of an edge get from their twins. Each raises InvalidManifest.

Stands for "Learn how to deploy modules and establish routes" (learn.microsoft.com, IoT Edge, module-composition)
and module-edgeagent-edgehub; layered deployments after module-deployment-monitoring. Stricter than the runtime:
duplicate members, routes from modules' paths that no message has, and mounts that cannot be made are refused.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from iotedge_lab.broker.twin import SECTION_LIMIT, check, check_size
from iotedge_lab.edge.errors import EMPTY_CONFIGURATION, InvalidManifest, Problem, RouteError
from iotedge_lab.edge.manifest.create_options import chunked, is_chunk, read_create_options
from iotedge_lab.edge.manifest.model import (
    DEFAULT_TIME_TO_LIVE,
    LAST,
    MAX_MODULES,
    MAX_NUMBER,
    AgentConfig,
    DeploymentManifest,
    HubConfig,
    ModuleSpec,
    PullPolicy,
    RestartPolicy,
    Status,
)
from iotedge_lab.edge.manifest.placeholders import resolved
from iotedge_lab.edge.manifest.reader import Findings, Json, Place
from iotedge_lab.edge.routes.grammar import parse_route
from iotedge_lab.edge.routes.places import ModuleInput
from iotedge_lab.edge.routes.table import DEFAULT_PRIORITY, MAX_PRIORITY, RouteEntry
from iotedge_lab.errors import ArgumentInvalid

SCHEMA_VERSIONS: Final = ("1.0", "1.1")
MAX_TEXT: Final = 1024 * 1024  # characters of a manifest; IoT Hub takes far less
_MAX_DEPTH: Final = 30

AGENT, HUB = "$edgeAgent", "$edgeHub"
_DESIRED: Final = "properties.desired"
_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,128}")
_ROUTE_NAME: Final = re.compile(r"[^.$# ]{1,128}")
_RESERVED: Final = frozenset({"edgeagent", "edgehub"})

_KNOWN_OF_MODULE: Final = frozenset(
    {
        "version", "type", "status", "restartPolicy", "startupOrder", "imagePullPolicy", "env", "settings",
        "configuration",
    }
)  # fmt: skip


def load(
    manifest: str | bytes | Mapping[str, Any], values: Mapping[str, str] | None = None
) -> DeploymentManifest:
    """Read a manifest, as text or as parsed JSON. Raises InvalidManifest with all its problems.

    `values` are what placeholders such as `${NAME}` stand for; `${MODULES.Name}` needs none.
    """
    findings = Findings()
    root = Place(findings, "$", _parsed(manifest))
    _check_depth(root)
    root = Place(findings, "$", resolved(root, values or {}))
    if not root.child("modulesContent").there and root.child("content").child("modulesContent").there:
        root = root.child("content")  # as a configuration of IoT Hub carries it
    modules_content = root.child("modulesContent")
    if modules_content.object(required=True) is None:
        findings.raise_if_any()
    contents = {name: modules_content.child(name) for name in modules_content.object() or {}}
    layered = any(
        key.startswith(f"{_DESIRED}.") for place in contents.values() for key in place.object() or {}
    )
    agent = hub = None
    desired: dict[str, Json] = {}
    twins: dict[str, Mapping[str, Any]] = {}
    for name, place in contents.items():
        section = _section(place)
        desired[name] = dict(section.value)
        if name == AGENT:
            agent = _agent(section, complete=not layered)
            desired[name] = _stringified(section)
        elif name == HUB:
            hub = _hub(section, complete=not layered)
        else:
            _check_name(place, name)
            twins[name] = section.value
    if not layered:
        for name, found in ((AGENT, agent), (HUB, hub)):
            if found is None:
                modules_content.child(name).problem("is missing; each manifest has $edgeAgent and $edgeHub.")
    agent, hub = agent or AgentConfig(), hub or HubConfig()
    _check_twins(modules_content, desired)
    if not layered:
        _check_names_of_routes(modules_content, agent, hub)
        for name in twins:
            if name not in agent.modules:
                modules_content.child(name).note("has desired properties, but no such module is deployed.")
    findings.raise_if_any()
    content: dict[str, dict[str, Any]] = {}
    for name, place in contents.items():
        # A layered deployment keeps its keys: they say what it adds, and the hub puts the layers together.
        content[name] = _kept_layers(place) if layered else {_DESIRED: desired[name]}
    return DeploymentManifest(agent, hub, twins, {"modulesContent": content}, layered, tuple(findings.notes))


def read_agent(desired: Mapping[str, Any]) -> AgentConfig:
    """Read the desired properties of `$edgeAgent` from its twin. Raises InvalidManifest; `status` says which kind."""
    if not any(not key.startswith("$") for key in desired):
        raise InvalidManifest(
            [Problem("$", "the desired properties are empty; set modules for this edge device.")],
            EMPTY_CONFIGURATION,
        )
    findings = Findings()
    root = Place(findings, "$", desired)
    _check_depth(root)
    agent = _agent(root, complete=True)
    findings.raise_if_any()
    return agent


def read_hub(desired: Mapping[str, Any]) -> HubConfig:
    """Read the desired properties of `$edgeHub` from its twin. Raises InvalidManifest."""
    findings = Findings()
    root = Place(findings, "$", desired)
    _check_depth(root)
    hub = _hub(root, complete=True)
    findings.raise_if_any()
    return hub


# -- the document ------------------------------------------------------------------------------------------


def _parsed(manifest: str | bytes | Mapping[str, Any]) -> Any:
    if isinstance(manifest, Mapping):
        return manifest
    try:
        text = manifest.decode("utf-8") if isinstance(manifest, bytes) else manifest
        if len(text) > MAX_TEXT:
            raise ValueError(f"{len(text)} characters are too many; {MAX_TEXT} are read")
        return json.loads(text.removeprefix("\ufeff"), object_pairs_hook=_unique)
    except json.JSONDecodeError as wrong:
        where = f"line {wrong.lineno}, column {wrong.colno}"
        raise InvalidManifest([Problem("$", f"is no JSON: {wrong.msg} at {where}.")]) from None
    except (ValueError, RecursionError) as wrong:
        raise InvalidManifest([Problem("$", f"cannot be read: {wrong}.")]) from None


def _unique(pairs: list[tuple[str, Any]]) -> Json:
    made = dict(pairs)
    if len(made) < len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise ValueError(
                    f"the member {key!r} is there twice in one object; one of them would be lost"
                )
            seen.add(key)
    return made


def _check_depth(root: Place) -> None:
    """Refuse what is nested without end, before anything walks through it."""
    level: list[Any] = [root.value]
    for _ in range(_MAX_DEPTH):
        level = [
            inner
            for value in level
            if isinstance(value, (Mapping, list))
            for inner in (value.values() if isinstance(value, Mapping) else value)
        ]
        if not level:
            return
    raise InvalidManifest([Problem("$", f"is nested deeper than {_MAX_DEPTH} levels.")])


def _section(place: Place) -> Place:
    """The desired properties of one module, with those of layered keys put in where they belong."""
    plain = place.child(_DESIRED)
    merged: Json = dict(plain.object() or {})
    extra = [key for key in place.object() or {} if key.startswith(f"{_DESIRED}.")]
    if not plain.there and not extra:
        plain.problem("is missing; it is an object.")
    for key in extra:
        names = key.removeprefix(f"{_DESIRED}.").split(".")
        at = merged
        for name in names[:-1]:
            inner = at.get(name)
            at[name] = dict(inner) if isinstance(inner, Mapping) else {}
            at = at[name]
        if not all(names):
            place.child(key).problem("has an empty name in its path.")
        at[names[-1]] = place.child(key).value
    for key in place.object() or {}:
        if key != _DESIRED and key not in extra:
            place.child(key).note("is not known and has no effect; only desired properties are deployed.")
    path = plain.path if not extra else f"{place.path}['{_DESIRED}...']"
    return Place(place.findings, path, merged)


def _kept_layers(place: Place) -> Json:
    made = {
        key: value
        for key, value in (place.object() or {}).items()
        if key == _DESIRED or key.startswith(f"{_DESIRED}.")
    }
    for key, value in made.items():
        if key.startswith(f"{_DESIRED}.modules.") and isinstance(value, Mapping):
            made[key] = _stringified_module(value, place.child(key))
    return made


# -- $edgeAgent --------------------------------------------------------------------------------------------


def _agent(section: Place, *, complete: bool) -> AgentConfig:
    first_note = len(section.findings.notes)
    version = _schema_version(section, required=complete)
    runtime = section.child("runtime")
    if complete and runtime.object(required=True) is not None:
        runtime.child("type").fixed("docker", required=True)
    settings = runtime.child("settings")
    system = section.child("systemModules")
    if complete and system.object(required=True) is not None:
        for name in ("edgeAgent", "edgeHub"):
            if not system.child(name).there:
                system.child(name).problem("is missing; the runtime is part of each deployment.")
    of_system = {name: _module(place, name, of_runtime=True) for name, place in system.members()}
    for name in of_system:
        if name not in ("edgeAgent", "edgeHub"):
            system.child(name).problem("is no module of the runtime; they are edgeAgent and edgeHub.")
    modules = section.child("modules")
    found: dict[str, ModuleSpec] = {}
    for name, place in modules.members():
        _check_name(place, name)
        found[name] = _module(place, name, of_runtime=False)
    if len(found) > MAX_MODULES:
        modules.problem(f"has {len(found)} modules, and {MAX_MODULES} are allowed.")
    if version == "1.0" and any(
        module.startup_order != LAST for module in (*found.values(), *of_system.values())
    ):
        section.child("schemaVersion").note(
            "is '1.0', with which a real edge ignores startupOrder; it has 1.1."
        )
    return AgentConfig(
        version,
        found,
        of_system,
        settings.child("minDockerVersion").text() or "",
        settings.child("loggingOptions").text() or "",
        tuple(section.findings.notes[first_note:]),
    )


def _module(place: Place, name: str, *, of_runtime: bool) -> ModuleSpec:
    if place.object(required=True) is None:
        return ModuleSpec(name, "")
    place.warn_of_unknown(_KNOWN_OF_MODULE)
    place.child("type").fixed("docker", required=True)
    settings = place.child("settings")
    image = None
    if settings.object(required=True) is not None:
        image = settings.child("image").text(required=True)
    if image and (any(c.isspace() for c in image) or image.endswith(("/", ":"))):
        settings.child("image").problem(f"is {image!r}, which is no image: registry/name:tag belongs here.")
    options = read_create_options(settings, check_mounts=not of_runtime)
    for key in options.ignored:
        if not of_runtime:
            settings.child("createOptions").note(f"{key} has no meaning without containers and is ignored.")
    order = place.child("startupOrder").whole(0, MAX_NUMBER)
    return ModuleSpec(
        name,
        image or "",
        place.child("version").text() or "",
        place.child("status").choice(Status, Status.RUNNING),
        place.child("restartPolicy").choice(RestartPolicy, RestartPolicy.ALWAYS),
        LAST if order is None else order,
        place.child("imagePullPolicy").choice(PullPolicy, PullPolicy.ON_CREATE),
        _env(place.child("env")),
        options,
        place.child("configuration").child("id").text(),
    )


def _env(place: Place) -> dict[str, str]:
    made: dict[str, str] = {}
    for name, variable in place.members():
        if "=" in name or "\0" in name:
            variable.problem("is no name for a variable: it has '=' in it.")
        if variable.object(required=True) is None:
            continue
        value = variable.child("value")
        text = value.scalar()
        if not value.there:
            value.problem('is missing; a variable is written {"value": "..."}.')
        if text is not None and "\0" in text:
            value.problem("holds the character U+0000.")
        made[name] = text or ""
    return made


def _check_name(place: Place, name: str) -> None:
    if not _NAME.fullmatch(name):
        place.problem("is no name for a module: 1 to 128 letters, digits, '_' and '-'.")
    elif name.lower() in _RESERVED:
        place.problem("is the name of a module of the runtime; choose another.")


def _stringified(section: Place) -> Json:
    """The desired properties of `$edgeAgent` as IoT Hub keeps them: create options as text in pieces."""
    made = dict(section.value)
    for group in ("systemModules", "modules"):
        modules = made.get(group)
        if isinstance(modules, Mapping):
            made[group] = {
                name: _stringified_module(module, section.child(group).child(name))
                for name, module in modules.items()
            }
    return made


def _stringified_module(module: Any, place: Place) -> Any:
    settings = module.get("settings") if isinstance(module, Mapping) else None
    if not isinstance(settings, Mapping) or not isinstance(settings.get("createOptions"), Mapping):
        return module
    others = {key: value for key, value in settings.items() if not is_chunk(key)}
    try:
        return {**module, "settings": {**others, **chunked(settings["createOptions"])}}
    except ValueError as wrong:
        place.child("settings").child("createOptions").problem(str(wrong))
        return {**module, "settings": others}


# -- $edgeHub ----------------------------------------------------------------------------------------------


def _hub(section: Place, *, complete: bool) -> HubConfig:
    first_note = len(section.findings.notes)
    version = _schema_version(section, required=complete)
    routes = {name: entry for name, entry in _routes(section.child("routes"), version) if entry is not None}
    configuration = section.child("storeAndForwardConfiguration")
    configuration.object(required=complete)
    seconds = configuration.child("timeToLiveSecs")
    time_to_live = seconds.whole(1, MAX_NUMBER)
    if complete and isinstance(configuration.value, Mapping) and not seconds.there:
        seconds.problem("is missing; it is the number of seconds for which messages are kept.")
    notes = tuple(section.findings.notes[first_note:])
    return HubConfig(version, routes, time_to_live or DEFAULT_TIME_TO_LIVE, notes)


def _routes(routes: Place, version: str) -> Iterator[tuple[str, RouteEntry | None]]:
    for name, place in routes.members():
        if not _ROUTE_NAME.fullmatch(name):
            place.problem("is no name for a route: 1 to 128 characters without '.', '$', '#' and blanks.")
        priority, seconds, text = DEFAULT_PRIORITY, None, place
        if isinstance(place.value, Mapping):
            if version == "1.0":
                place.problem('is an object, which needs "schemaVersion": "1.1" in $edgeHub.')
            text = place.child("route")
            given = place.child("priority").whole(0, MAX_PRIORITY)
            priority = DEFAULT_PRIORITY if given is None else given
            # 0 means the edge's own time, as if it were not there.
            seconds = place.child("timeToLiveSecs").whole(0, MAX_NUMBER) or None
            place.warn_of_unknown(frozenset({"route", "priority", "timeToLiveSecs"}))
        written = text.text(required=True)
        if written is None:
            continue
        try:
            yield name, RouteEntry(name, parse_route(written), priority, seconds)
        except RouteError as wrong:
            text.problem(str(wrong).replace("\n", "\n    "))
            yield name, None


# -- what concerns both ------------------------------------------------------------------------------------


def _schema_version(section: Place, *, required: bool) -> str:
    place = section.child("schemaVersion")
    if not place.there and not required:
        return "1.1"  # a layer takes part in what the deployment below it says
    text = place.text(required=required)
    match = re.fullmatch(r"([0-9]+\.[0-9]+)(?:\.[0-9]+){0,2}", text or "")
    if match and match[1] in SCHEMA_VERSIONS:
        return match[1]
    if text:
        place.schema_problem(f"is {text!r}; {' and '.join(SCHEMA_VERSIONS)} are served here.")
    return "1.1"  # so that nothing else is refused for its sake


def _check_twins(modules_content: Place, desired: Mapping[str, Json]) -> None:
    """Hold the twins against IoT Hub's limits: it would refuse the manifest, and late."""
    for name, values in desired.items():
        place = modules_content.child(name).child(_DESIRED)
        try:
            check(values, "desired")
            check_size(values, SECTION_LIMIT)
        except ArgumentInvalid as refused:
            place.problem(str(refused))


def _check_names_of_routes(modules_content: Place, agent: AgentConfig, hub: HubConfig) -> None:
    """Note routes from and to modules that are not deployed: likely slips, though the runtime takes them."""
    routes = modules_content.child(HUB).child(_DESIRED).child("routes")
    known = {name.lower() for name in agent.modules}
    for name, entry in hub.routes.items():
        sink, module = entry.route.endpoint, entry.route.source.module
        if isinstance(sink, ModuleInput) and sink.module not in agent.modules:
            routes.child(name).note(f"sends to the module {sink.module!r}, which is not deployed.")
        if module is not None and module.lower() not in known:
            routes.child(name).note(f"takes from the module {module!r}, which is not deployed.")
