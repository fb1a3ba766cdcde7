"""Deployment manifests: what is read of them, what they become, and each problem by its place."""

import copy
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from manifests import CAMERA, CAMERA_OPTIONS, CAMERA_VALUES, CAR, car, module

from iotedge_lab.edge.errors import InvalidManifest
from iotedge_lab.edge.manifest import Mount, PullPolicy, RestartPolicy, Status, load, read_agent, read_hub
from iotedge_lab.edge.manifest.create_options import CHUNK, chunked
from iotedge_lab.edge.manifest.model import LAST
from iotedge_lab.edge.routes import DEFAULT_PRIORITY, ModuleInput, Upstream

AGENT = "$.modulesContent['$edgeAgent']['properties.desired']"
HUB = "$.modulesContent['$edgeHub']['properties.desired']"


def refused(manifest, values=None):
    with pytest.raises(InvalidManifest) as caught:
        load(manifest, values)
    assert str(caught.value).count("\n") >= len(caught.value.problems)
    return caught.value


# -- manifests made for Docker -----------------------------------------------------------------------------


def test_the_cars_manifest_loads_unchanged():
    """The car's template, as text and as JSON, without any variable set: modules, routes, twins."""
    manifest = load(json.dumps(CAR))
    assert load(CAR).agent == manifest.agent
    simulator, model = manifest.modules["ModuleSimulatorCar"], manifest.modules["ModuleFilterCar"]
    assert (simulator.image, model.image) == ("ModuleSimulatorCar", "ModuleFilterCar")
    assert (simulator.version, simulator.status, simulator.startup_order) == ("1.0", Status.RUNNING, LAST)
    assert (simulator.restart_policy, model.restart_policy) == (
        RestartPolicy.ALWAYS,
        RestartPolicy.ON_FAILURE,
    )
    assert model.environment == {"MODEL": "speed.onnx", "BATCH": "1", "TRACE": "false", "LEVEL": "info"}
    assert set(manifest.agent.system) == {"edgeAgent", "edgeHub"}
    assert manifest.hub.time_to_live == 7200
    routes = manifest.hub.routes
    assert routes["ModuleSimulatorCarToFilter"].route.endpoint == ModuleInput(
        "ModuleFilterCar", "input-simulator-car"
    )
    assert routes["ModuleFilterCarToIoTHub"].route.endpoint == Upstream()
    assert routes["ModuleFilterCarToIoTHub"].priority == DEFAULT_PRIORITY
    assert manifest.twins == {"ModuleSimulatorCar": {"interval": 1.0, "file": "data/car.csv"}}
    assert not manifest.layered
    credentials = f"{AGENT}.runtime.settings.registryCredentials"
    assert manifest.notes == (f"{credentials}: is not used and not kept here: no registry is asked.",)


def test_the_cameras_manifest():
    """The camera's template: one mount alone, pieces of create options, priorities, what is ignored."""
    manifest = load(CAMERA, CAMERA_VALUES)
    simulator, model = manifest.modules["ModuleSimulatorCamera"], manifest.modules["ModuleFilterCamera"]
    assert simulator.image == "lab.azurecr.io:443/edge/modulesimulatorcamera:0.0.1-amd64"
    assert simulator.version == "2.1"
    options = simulator.create_options
    assert options.mounts == (Mount("/tmp", "/app/stream/"),)
    assert options.command == ("--frames", "30")
    assert options.exposed_ports == ("8080/tcp",)
    assert options.ignored == ("HostConfig.Privileged",)
    assert options.raw == CAMERA_OPTIONS
    assert model.create_options.mounts == (
        Mount("/tmp", "/app/stream", read_only=True),
        Mount("models", "/app/models"),
    )
    assert (model.status, model.restart_policy, model.pull_policy) == (
        Status.STOPPED,
        RestartPolicy.NEVER,
        PullPolicy.NEVER,
    )
    assert [one.name for one in manifest.agent.in_startup_order()] == [
        "ModuleSimulatorCamera",
        "ModuleFilterCamera",
    ]
    alarms, frames, rest = (manifest.hub.routes[name] for name in ("alarms", "frames", "rest"))
    assert (alarms.priority, alarms.time_to_live) == (0, 86400)
    assert (frames.priority, frames.time_to_live) == (DEFAULT_PRIORITY, None)
    assert [one.name for one in manifest.hub.table()] == ["alarms", "frames", "rest"]
    assert rest.time_to_live is None
    assert any("HostConfig.Privileged has no meaning" in note for note in manifest.notes)


def test_the_content_for_the_hub():
    """The content has its placeholders replaced, create options as text in pieces, no credentials; it reads back."""
    long = {"Env": [f"V{number}={'x' * 40}" for number in range(40)]}
    manifest = load(car(modules={"A": module(createOptions=long), "B": module(env={"K": {"value": "v"}})}))
    desired = manifest.content["modulesContent"]["$edgeAgent"]["properties.desired"]
    pieces = desired["modules"]["A"]["settings"]
    assert list(pieces)[:3] == ["image", "createOptions", "createOptions01"]
    assert all(len(text) <= CHUNK for text in pieces.values())
    assert "registryCredentials" not in json.dumps(manifest.content)
    again = load(manifest.content)
    assert again.agent.modules == manifest.agent.modules
    assert again.hub == manifest.hub
    assert read_agent(desired).modules == manifest.agent.modules
    hub = manifest.content["modulesContent"]["$edgeHub"]["properties.desired"]
    assert read_hub({**hub, "$version": 4}) == manifest.hub


def test_a_configurations_content():
    """A manifest in the `content` of a configuration, as IoT Hub carries it, is read too."""
    assert load({"id": "d1", "content": load(CAR).content}).modules.keys() == load(CAR).modules.keys()


def test_a_layered_deployment():
    """Layered keys are put where they belong; what is missing is not asked for, and the keys are kept."""
    layer = {
        "modulesContent": {
            "$edgeAgent": {
                "properties.desired.modules.Extra": module(createOptions={"Env": ["A=1"]}, startupOrder=3)
            },
            "$edgeHub": {
                "properties.desired.routes.extra": {"route": "FROM /messages/modules/Extra/* INTO $upstream"}
            },
            "Extra": {"properties.desired.tuning": {"gain": 2}, "properties.desired.deep.er": 1},
        }
    }
    manifest = load(layer)
    assert manifest.layered
    assert manifest.modules["Extra"].environment == {"A": "1"}
    assert manifest.hub.routes["extra"].route.endpoint == Upstream()
    assert manifest.twins == {"Extra": {"tuning": {"gain": 2}, "deep": {"er": 1}}}
    kept = manifest.content["modulesContent"]
    assert list(kept["$edgeAgent"]) == ["properties.desired.modules.Extra"]
    assert (
        kept["$edgeAgent"]["properties.desired.modules.Extra"]["settings"]["createOptions"]
        == '{"Env":["A=1"]}'
    )
    assert list(kept["Extra"]) == ["properties.desired.tuning", "properties.desired.deep.er"]
    layer["modulesContent"]["$edgeAgent"]["properties.desired.modules.Extra"]["status"] = "maybe"
    (problem,) = refused(layer).problems
    assert problem.path == "$.modulesContent['$edgeAgent']['properties.desired...'].modules.Extra.status"


# -- placeholders ------------------------------------------------------------------------------------------

PLACEHOLDERS = [
    ("${MODULES.CarFilter}", {}, "CarFilter"),
    ("${MODULES.CarFilter.amd64}", {}, "CarFilter"),
    ("${MODULES.CarFilter.amd64.debug}", {}, "CarFilter"),
    ("${MODULES.CarFilter.arm32v7}", {"MODULES.CarFilter.arm32v7": "mine:1"}, "mine:1"),
    ("${MODULEDIR<../shared/CarFilter>.amd64}", {}, "CarFilter"),
    ("${REGISTRY}/a:${TAG}", {"REGISTRY": "r:5000", "TAG": "2"}, "r:5000/a:2"),
    ("$REGISTRY/a:1", {"REGISTRY": "r"}, "r/a:1"),
    ("$REGISTRY/a:1", {}, "$REGISTRY/a:1"),
    ("$upstream/a", {"upstream": "no"}, "$upstream/a"),
    ("${A}", {"A": "${B}", "B": "b"}, "${B}"),  # once over, not again
]


@pytest.mark.parametrize(("image", "values", "expected"), PLACEHOLDERS)
def test_placeholders(image, values, expected):
    """A module's placeholder gives its name; others come from the mapping."""
    assert load(car(modules={"A": module(image=image)}), values).modules["A"].image == expected


def test_placeholders_inside_create_options_and_routes():
    """Placeholders are replaced in every text; names that only look like one stay."""
    options = '{"HostConfig":{"Binds":["${SHARE}:/app/share"]}}'
    routes = {"r": "FROM /messages/modules/${NAME}/* WHERE $body.x = 1 INTO $upstream"}
    manifest = load(
        car(modules={"A": module(createOptions=options)}, routes=routes), {"SHARE": "/data", "NAME": "A"}
    )
    assert manifest.modules["A"].create_options.mounts == (Mount("/data", "/app/share"),)
    assert manifest.hub.routes["r"].route.source.module == "A"
    assert manifest.hub.routes["r"].route.condition == "$body.x = 1"


def test_placeholders_without_a_value():
    """Each placeholder without a value is named with its place and what to do."""
    problems = refused(CAMERA, {"VERSION": "1"}).problems
    assert [problem.path for problem in problems] == [
        f"{AGENT}.modules.{name}.settings.image" for name in ("ModuleSimulatorCamera", "ModuleFilterCamera")
    ]
    assert "set REGISTRY in the solution's .env file" in problems[0].message


# -- problems ----------------------------------------------------------------------------------------------

A = f"{AGENT}.modules.A"
MODULES = [
    # What is wrong with a module: the place below the module, and a part of the message
    (module(type="podman"), ".type", "'docker'"),
    ({"settings": {"image": "a"}}, ".type", "missing"),
    (module(status="paused"), ".status", "'running', 'stopped'"),
    (module(restartPolicy="sometimes"), ".restartPolicy", "'on-unhealthy'"),
    (module(restartPolicy=3), ".restartPolicy", "is 3"),
    (module(imagePullPolicy="always"), ".imagePullPolicy", "'on-create', 'never'"),
    (module(startupOrder=-1), ".startupOrder", "0 to 4294967295"),
    (module(startupOrder="1"), ".startupOrder", "'1'"),
    (module(startupOrder=True), ".startupOrder", "true"),
    (module(startupOrder=2**32), ".startupOrder", "4294967296"),
    (module(version=1.0), ".version", "a number"),
    (module(env=["A=1"]), ".env", "a list"),
    (module(env={"A": "1"}), ".env.A", "an object belongs here"),
    (module(env={"A": {}}), ".env.A.value", "missing"),
    (module(env={"A": {"value": [1]}}), ".env.A.value", "a list"),
    (module(env={"A=B": {"value": "1"}}), ".env['A=B']", "no name for a variable"),
    (module(env={"A": {"value": "a\0b"}}), ".env.A.value", "U+0000"),
    (module(image=""), ".settings.image", "empty"),
    (module(image="a b"), ".settings.image", "no image"),
    (module(image="registry/"), ".settings.image", "no image"),
    (module(image=None), ".settings.image", "missing"),
    (module(settings=None), ".settings", "missing"),
    ("a", "", "an object belongs here"),
    # Create options
    (module(createOptions="{"), ".settings.createOptions", "no JSON"),
    (module(createOptions="[]"), ".settings.createOptions", "no object"),
    (module(createOptions=[]), ".settings.createOptions", "a list"),
    (module(createOptions={}, createOptions01="x"), ".settings.createOptions", "cannot go on"),
    (module(createOptions="{", createOptions02="}"), ".settings.createOptions01", "missing"),
    (module(createOptions={"Env": ["=1"]}), ".settings.createOptions.Env[0]", "NAME=value"),
    (module(createOptions={"Env": {"A": 1}}), ".settings.createOptions.Env", "list of texts"),
    (module(createOptions={"Cmd": [1]}), ".settings.createOptions.Cmd", "list of texts"),
    (module(createOptions={"HostConfig": []}), ".settings.createOptions.HostConfig", "a list"),
    (
        module(createOptions={"HostConfig": {"Binds": ["/a:/data"]}}),
        ".settings.createOptions.HostConfig.Binds[0]",
        "outside /app",
    ),
    (
        module(createOptions={"HostConfig": {"Binds": ["/a"]}}),
        ".settings.createOptions.HostConfig.Binds[0]",
        "source:target",
    ),
    (
        module(createOptions={"HostConfig": {"Mounts": {"Type": "bind", "Source": "/a"}}}),
        ".settings.createOptions.HostConfig.Mounts.Target",
        "missing",
    ),
    (
        module(
            createOptions={"HostConfig": {"Mounts": [{"Type": "npipe", "Source": "/a", "Target": "/app/a"}]}}
        ),
        ".settings.createOptions.HostConfig.Mounts[0].Type",
        "'npipe'",
    ),
    (
        module(createOptions={"HostConfig": {"Mounts": "/a:/app/a"}}),
        ".settings.createOptions.HostConfig.Mounts",
        "neither",
    ),
    (
        module(createOptions={"HostConfig": {"Binds": ["/a:/app/x", "/b:/app/x/y"]}}),
        ".settings.createOptions.HostConfig",
        "within each other",
    ),
    (module(createOptions={"Env": ["A=" + "x" * 60_000]}), ".settings.createOptions", "51200 are allowed"),
]


@pytest.mark.parametrize(("given_module", "path", "part"), MODULES, ids=range(len(MODULES)))
def test_problems_of_a_module(given_module, path, part):
    """Each problem of a module is named by its place in the document."""
    problems = refused(car(modules={"A": given_module}, routes={})).problems
    assert (problems[0].path, len(problems)) == (f"{A}{path}", 1), [str(problem) for problem in problems]
    assert part in problems[0].message


@pytest.mark.parametrize("name", ["a.b", "a b", "", "$x/..", "a/b", "é", "x" * 129, "edgeHub", "EDGEAGENT"])
def test_names_of_modules(name):
    """A name that is no module's, or the runtime's own, is refused."""
    manifest = car(modules={name: module()}, routes={})
    assert any("name" in problem.message for problem in refused(manifest).problems)


WHOLE = [
    # The document with a change to it: a dotted path below modulesContent, a value (... deletes), the expected place
    (("$edgeAgent",), ..., "$.modulesContent['$edgeAgent']", "missing", 400),
    (("$edgeHub",), ..., "$.modulesContent['$edgeHub']", "missing", 400),
    (("$edgeHub",), {}, "$.modulesContent['$edgeHub']['properties.desired']", "missing", 400),
    (
        ("$edgeAgent", "properties.desired", "schemaVersion"),
        "2.0",
        f"{AGENT}.schemaVersion",
        "1.0 and 1.1",
        412,
    ),
    (("$edgeAgent", "properties.desired", "schemaVersion"), ..., f"{AGENT}.schemaVersion", "missing", 400),
    (("$edgeAgent", "properties.desired", "schemaVersion"), 1.0, f"{AGENT}.schemaVersion", "a number", 400),
    (("$edgeHub", "properties.desired", "schemaVersion"), "1.3", f"{HUB}.schemaVersion", "'1.3'", 412),
    (
        ("$edgeAgent", "properties.desired", "runtime", "type"),
        "kata",
        f"{AGENT}.runtime.type",
        "'docker'",
        400,
    ),
    (("$edgeAgent", "properties.desired", "runtime"), ..., f"{AGENT}.runtime", "missing", 400),
    (("$edgeAgent", "properties.desired", "systemModules"), ..., f"{AGENT}.systemModules", "missing", 400),
    (
        ("$edgeAgent", "properties.desired", "systemModules", "edgeHub"),
        ...,
        f"{AGENT}.systemModules.edgeHub",
        "missing",
        400,
    ),
    (("$edgeAgent", "properties.desired", "modules"), [], f"{AGENT}.modules", "a list", 400),
    (
        ("$edgeHub", "properties.desired", "storeAndForwardConfiguration"),
        ...,
        f"{HUB}.storeAndForwardConfiguration",
        "missing",
        400,
    ),
    (
        ("$edgeHub", "properties.desired", "storeAndForwardConfiguration", "timeToLiveSecs"),
        0,
        f"{HUB}.storeAndForwardConfiguration.timeToLiveSecs",
        "1 to",
        400,
    ),
    (
        ("$edgeHub", "properties.desired", "routes", "r"),
        "FROM /x INTO $y",
        f"{HUB}.routes.r",
        "column 6",
        400,
    ),
    (("$edgeHub", "properties.desired", "routes", "r"), 3, f"{HUB}.routes.r", "a number", 400),
    (("$edgeHub", "properties.desired", "routes", "r"), "", f"{HUB}.routes.r", "empty", 400),
    (
        ("$edgeHub", "properties.desired", "routes", "r"),
        {"route": "FROM /* INTO $upstream"},
        f"{HUB}.routes.r",
        '"schemaVersion": "1.1"',
        400,
    ),
    (
        ("$edgeHub", "properties.desired", "routes", "r#1"),
        "FROM /* INTO $upstream",
        f"{HUB}.routes['r#1']",
        "no name",
        400,
    ),
    (
        ("Mod", "properties.desired"),
        {"a.b": 1},
        "$.modulesContent.Mod['properties.desired']",
        "no name for a property",
        400,
    ),
    (
        ("Mod", "properties.desired"),
        {f"k{n}": "x" * 4000 for n in range(9)},
        "$.modulesContent.Mod['properties.desired']",
        "32768",
        400,
    ),
    (("Mod", "properties.desired"), [], "$.modulesContent.Mod['properties.desired']", "a list", 400),
]


@pytest.mark.parametrize(("keys", "value", "path", "part", "status"), WHOLE, ids=range(len(WHOLE)))
def test_problems_of_the_document(keys, value, path, part, status):
    """Each problem of the document is named by its place, with the status that the agent reports."""
    manifest = copy.deepcopy(CAR)
    at = manifest["modulesContent"]
    for key in keys[:-1]:
        at = at.setdefault(key, {})
    if value is ...:
        del at[keys[-1]]
    else:
        at[keys[-1]] = value
    caught = refused(manifest)
    assert (path, True) in [(problem.path, part in problem.message) for problem in caught.problems], str(
        caught
    )
    assert caught.status == status


def test_priorities():
    """Priorities go from 0 to 9, times to live from 0."""
    manifest = copy.deepcopy(CAMERA)
    routes = manifest["modulesContent"]["$edgeHub"]["properties.desired"]["routes"]
    for number, (key, value) in enumerate(
        [
            ("priority", 10),
            ("priority", -1),
            ("priority", 1.5),
            ("timeToLiveSecs", -1),
            ("timeToLiveSecs", 2**32),
        ]
    ):
        routes[f"r{number}"] = {"route": "FROM /* INTO $upstream", key: value}
    routes["r5"] = {"priority": 1}
    assert [problem.path for problem in refused(manifest, CAMERA_VALUES).problems] == [
        f"{HUB}.routes.r0.priority",
        f"{HUB}.routes.r1.priority",
        f"{HUB}.routes.r2.priority",
        f"{HUB}.routes.r3.timeToLiveSecs",
        f"{HUB}.routes.r4.timeToLiveSecs",
        f"{HUB}.routes.r5.route",
    ]


def test_all_problems_at_once():
    """A manifest with several problems names them all, in the order of the document."""
    manifest = car(
        modules={"A": module(status="x"), "B": module(type="y", restartPolicy="z")},
        routes={"r": "FROM /* INTO $nowhere"},
    )
    caught = refused(manifest)
    assert [problem.path for problem in caught.problems] == [
        f"{AGENT}.modules.A.status",
        f"{AGENT}.modules.B.type",
        f"{AGENT}.modules.B.restartPolicy",
        f"{HUB}.routes.r",
    ]
    assert str(caught).startswith(
        "The deployment manifest has 4 problems; nothing was changed.\n  $.modulesContent"
    )


def test_a_problem_is_named_once():
    """What is wrong at one place is said once, however often the place is looked at."""
    manifest = car()
    manifest["modulesContent"]["$edgeAgent"] = 3
    paths = [problem.path for problem in refused(manifest).problems]
    assert len(paths) == len(set(paths))
    assert paths[0] == "$.modulesContent['$edgeAgent']"


def test_too_many_modules():
    """A deployment has 50 modules at most."""
    (problem,) = refused(car(modules={f"M{n}": module() for n in range(51)}, routes={})).problems
    assert "50 are allowed" in problem.message


TEXTS = [
    ("", "no JSON"),
    ("{", "line 1, column 2"),
    ("[]", "an object"),
    ("3", "missing"),
    (b"\xff\xfe", "cannot be read"),
    ('{"modulesContent": {}, "modulesContent": {}}', "twice"),
    ('{"a":' * 100_000, "cannot be read"),
    ('{"a":' * 60 + "1" + "}" * 60, "nested deeper"),
    ("[" * 60 + "]" * 60, "nested deeper"),
    (" " * 2_000_000, "too many"),
    ('{"modulesContent": []}', "a list"),
    ('{"modulesContent": {"$edgeAgent": 3, "$edgeHub": null}}', "a number"),
]


@pytest.mark.parametrize(("text", "part"), TEXTS, ids=range(len(TEXTS)))
def test_texts_that_are_no_manifest(text, part):
    """What is no manifest at all is refused with a word, whatever it is."""
    assert part in str(refused(text)) or part == "an object"


def test_a_byte_order_mark_is_passed_over():
    """A file that an editor on Windows saved is read."""
    assert load("\ufeff" + json.dumps(CAR)).modules


def test_empty_twins():
    """Empty desired properties of the agent have a status of their own."""
    for desired in ({}, {"$version": 1, "$metadata": {}}):
        with pytest.raises(InvalidManifest) as caught:
            read_agent(desired)
        assert caught.value.status == 417


def test_notes():
    """What looks like a slip, and what has no effect, is noted and not refused."""
    manifest = car(
        modules={"A": {**module(startupOrder=1), "restartpolicy": "never"}},
        routes={"r": "FROM /messages/modules/Gone/* INTO BrokeredEndpoint('/modules/Away/inputs/i')"},
    )
    notes = "\n".join(load(manifest).notes)
    assert f"{A}.restartpolicy: is not known and has no effect. Is 'restartPolicy' meant?" in notes
    assert "schemaVersion: is '1.0', with which a real edge ignores startupOrder" in notes
    assert "sends to the module 'Away', which is not deployed" in notes
    assert "takes from the module 'Gone', which is not deployed" in notes
    assert "ModuleSimulatorCar: has desired properties, but no such module is deployed" in notes


@pytest.mark.parametrize("word", ["never", "Never", "NEVER"])
def test_words_in_any_case(word):
    """Words are read in any case and with or without their hyphen: the documents write both."""
    modules = load(car(modules={"A": module(restartPolicy=word, imagePullPolicy="OnCreate")})).modules
    assert modules["A"].restart_policy is RestartPolicy.NEVER
    assert modules["A"].pull_policy is PullPolicy.ON_CREATE


@pytest.mark.parametrize("empty", ["", "  ", "null", "{}", None, {}])
def test_empty_create_options(empty):
    """Create options that say nothing are none."""
    assert load(car(modules={"A": module(createOptions=empty)})).modules["A"].create_options.env == {}


def test_what_is_ignored():
    """All that has no meaning without containers is named, unless it asks for nothing."""
    options = {
        "Hostname": "h",
        "Labels": {},
        "NetworkingConfig": {"EndpointsConfig": {"host": {}}},
        "HostConfig": {
            "NetworkMode": "host",
            "Privileged": False,
            "Devices": [{"PathOnHost": "/dev/video0"}],
            "Mounts": [{"Type": "tmpfs", "Target": "/app/scratch"}],
        },
    }
    found = load(car(modules={"A": module(createOptions=options)})).modules["A"].create_options
    assert found.ignored == (
        "Hostname",
        "NetworkingConfig",
        "HostConfig.NetworkMode",
        "HostConfig.Devices",
        "HostConfig.Mounts[0]",
    )
    assert found.mounts == ()


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["$", "${", "${A}"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
KEYS = [
    ("$edgeAgent",),
    ("$edgeHub", "properties.desired"),
    ("$edgeHub", "properties.desired", "routes"),
    ("$edgeHub", "properties.desired", "routes", "r"),
    ("$edgeHub", "properties.desired.routes.x"),
    ("$edgeAgent", "properties.desired", "runtime"),
    ("$edgeAgent", "properties.desired", "modules"),
    ("$edgeAgent", "properties.desired", "modules", "A"),
    ("$edgeAgent", "properties.desired", "modules", "A", "env"),
    ("$edgeAgent", "properties.desired", "modules", "A", "settings"),
    ("$edgeAgent", "properties.desired", "modules", "A", "settings", "createOptions"),
    ("$edgeAgent", "properties.desired", "modules", "A", "settings", "createOptions", "HostConfig"),
    ("$edgeAgent", "properties.desired", "modules", "A", "settings", "createOptions", "HostConfig", "Mounts"),
]


@settings(max_examples=250, deadline=5000)
@given(st.sampled_from(KEYS), JSON)
def test_anything_anywhere_is_read_or_refused(keys, value):
    """Whatever JSON stands at whatever place: the manifest is read, or refused by name."""
    manifest = car(modules={"A": module(createOptions={})})
    at = manifest["modulesContent"]
    for key in keys[:-1]:
        at = at.setdefault(key, {})
    at[keys[-1]] = value
    found, problems = None, ()
    try:
        found = load(manifest)
    except InvalidManifest as caught:
        problems = caught.problems
    assert (found is None) is bool(problems)
    assert all(problem.path.startswith("$") for problem in problems)
    assert found is None or json.loads(json.dumps(found.content))["modulesContent"]


@settings(max_examples=100, deadline=5000)
@given(st.dictionaries(st.text(min_size=1, max_size=20), st.text(max_size=300), max_size=8))
def test_pieces_join_to_what_they_were_cut_from(raw):
    """Create options in pieces read back as they were."""
    options = {"Labels": raw}
    found = load(car(modules={"A": module(**chunked(options))})).modules["A"]
    assert found.create_options.raw == options
