"""What queries find in a small fleet: conditions, columns, aggregates, pages."""

import base64
import json

import pytest
from asking import everything, page
from house import House

from iotedge_lab.errors import ArgumentInvalid
from iotedge_lab.hub.query.continuation import Position
from iotedge_lab.hub.query.syntax import QueryError

# Device to tags and reported properties.
FLEET = {
    "a": (
        {"floor": 1, "room": "Alpha", "on": True, "none": {}},
        {"temp": 20, "fw": {"version": "1.0"}, "l": [1]},
    ),
    "b": ({"floor": 2, "room": "beta", "on": False}, {"temp": 25.5, "fw": {"version": "2.0"}, "fan": 25.5}),
    "c": ({"floor": "2", "room": "Gämma"}, {"temp": 20.0, "fw": "odd", "fan": 3}),
    "d": ({"floor": {"deep": {"er": 7}}, "a-b": 1, "group": "g", "ü": "ß", 'q"t': "x"}, {"temp": None}),
    "e": ({}, {}),
}


@pytest.fixture(scope="module")
def fleet(tmp_path_factory):
    """A hub with the fleet; `e` is an edge device with a module."""
    house = House(tmp_path_factory.mktemp("fleet"))
    for device, (tags, reported) in FLEET.items():
        body = {"status": "disabled", "statusReason": "old"} if device == "d" else {}
        house.register(device, **body, capabilities={"iotEdge": device == "e"})
        house.hub.twins.patch(device, "", {"tags": tags}, None)
        # A device cannot report null: as JSON may have one, it is put there.
        house.hub.twins.report(
            device, "", {key: value for key, value in reported.items() if value is not None}
        )
        _, twin = house.hub.twins.get(device)
        if None in reported.values():
            with house.hub.store.transaction() as db:
                db.execute(
                    "UPDATE twin SET reported = ? WHERE device = ?", (json.dumps(reported), twin.device)
                )
    house.hub.twins.patch("a", "", {"properties": {"desired": {"temp": 20, "fw": {"version": "2.0"}}}}, None)
    house.register("e", "filter")
    house.register("a", "filter")
    house.hub.twins.patch("e", "filter", {"tags": {"kind": "f"}}, None)
    house.turns.run()
    yield house
    house.hub.close()


def by_text(rows):
    """Rows in an order that is the same for the same rows."""
    return sorted(json.dumps(row, sort_keys=True) for row in rows)


CONDITIONS = [
    # a condition, and the devices of which it is true
    ("tags.floor = 2", "b"),
    ("tags.floor = '2'", "c"),
    ("tags.floor != 2", "ac"),  # of another type is unequal; what is not there, or an object, is not
    ("NOT tags.floor = 2", "ac"),
    ("tags.floor > 0", "ab"),
    ("tags.floor >= '2'", "c"),
    ("0 < tags.floor and 2 > tags.floor", "a"),
    ("tags.floor IN [1, '2']", "ac"),
    ("tags.floor NIN [1, '2']", "b"),
    ("tags.floor IN []", ""),
    ("tags.floor NIN []", "abc"),
    ("tags.floor.deep.er = 7", "d"),
    ("tags.floor.deep.er.more = 7", ""),
    ("tags.floor = tags.floor", "abc"),
    ("tags.on = true", "a"),
    ("tags.on", "a"),
    ("NOT tags.on", "b"),
    ("tags.on = false OR tags.floor = 1", "ab"),
    ("tags.on != true", "b"),
    ("tags.on > false", ""),
    ("tags.room = 'Alpha'", "a"),
    ("tags.room = 'alpha'", ""),
    ("tags.room < 'a'", "ac"),
    ("tags.room IN ['beta', 'Gämma', 5]", "bc"),
    ("tags.[[a-b]] = 1", "d"),
    ("tags.[[group]] = 'g'", "d"),
    ("tags.ü = 'ß'", "d"),
    ("tags.[[q\"t]] = 'x'", "d"),
    ('IS_DEFINED(tags.[[q"t]]) AND IS_STRING(tags.[[q"t]])', "d"),
    ('IS_DEFINED(tags.[[q"t]].more)', ""),
    ("properties.reported.temp = 20", "ac"),
    ("properties.reported.temp = properties.desired.temp", "a"),
    ("properties.reported.fw.version != properties.desired.fw.version", "a"),
    ("properties.reported.temp = properties.reported.fan", "b"),
    ("properties.reported.temp > properties.reported.fan", "c"),
    ("properties.reported.temp != properties.reported.fw", "c"),
    ("properties.reported.temp = null", "d"),
    ("properties.reported.temp != null", "abc"),
    ("properties.reported.nothing = null", ""),
    ("properties.reported.nothing = undefined", ""),
    ("properties.reported.temp IN [null, 25.5]", "bd"),
    ("properties.reported.temp NIN [null, 25.5]", "ac"),
    ("IS_NULL(properties.reported.temp)", "d"),
    ("IS_DEFINED(properties.reported.temp)", "abcd"),
    ("NOT IS_DEFINED(properties.reported.temp)", "e"),
    ("IS_NUMBER(properties.reported.temp)", "abc"),
    ("IS_STRING(properties.reported.fw)", "c"),
    ("IS_OBJECT(properties.reported.fw)", "ab"),
    ("IS_PRIMITIVE(properties.reported.fw)", "c"),
    ("IS_ARRAY(properties.reported.l)", "a"),
    ("IS_BOOL(tags.on)", "ab"),
    ("IS_OBJECT(tags) AND IS_OBJECT(properties) AND IS_OBJECT(properties.desired)", "abcde"),
    ("IS_OBJECT(tags.none) AND IS_DEFINED(tags.none)", "a"),
    ("tags.none = tags.none", ""),
    ("properties.reported.l = 1", ""),
    ("properties.reported.temp + 5 = 25", "ac"),
    ("properties.reported.temp * 2 - 1 > 45", "b"),
    ("properties.reported.temp / 8 = 2.5", "ac"),
    ("5 / 2 = 2.5 AND 7 % 4 = 3 AND -7 % 4 = -3 AND 5.5 % 2 = 1.5", "abcde"),
    ("properties.reported.temp / 0 = 1", ""),
    ("NOT properties.reported.temp % 0 = 1", ""),
    ("-properties.reported.temp < -20", "b"),
    ("tags.room + 1 = 1", ""),
    ("'x' + 1 = 1", ""),
    ("STARTSWITH(tags.room, 'A')", "a"),
    ("startswith(tags.room, 'Gä')", "c"),
    ("STARTSWITH(tags.room, '')", "abc"),
    ("ENDSWITH(tags.room, 'ma')", "c"),
    ("ENDSWITH(tags.room, '')", "abc"),
    ("ENDSWITH(tags.room, 'much longer than it')", ""),
    ("CONTAINS(tags.room, 'ämm')", "c"),
    ("NOT CONTAINS(tags.room, 'a')", ""),
    ("NOT CONTAINS(tags.room, 'm')", "ab"),
    ("CONTAINS(tags.floor, '2')", "c"),
    ("STARTSWITH(LOWER(tags.room), 'a')", "a"),
    ("ENDSWITH(CONCAT(tags.room, '!'), 'a!')", "abc"),
    ("LOWER(tags.room) = 'gämma' AND UPPER(tags.room) = 'GÄMMA'", "c"),
    ("LENGTH(tags.room) = 5", "ac"),
    ("SUBSTRING(tags.room, 1) = 'eta'", "b"),
    ("SUBSTRING(tags.room, 1, 2) = 'äm'", "c"),
    ("SUBSTRING(tags.room, 9) = ''", "abc"),
    ("SUBSTRING(tags.room, -1) = ''", ""),
    ("INDEX_OF(tags.room, 'a') = 4", "ac"),
    ("INDEX_OF(tags.room, 'x') = -1", "abc"),
    ("CONCAT(tags.room, '-', tags.floor) = 'Gämma-2'", "c"),
    ("AS_NUMBER(tags.floor) = 2", "bc"),
    ("AS_NUMBER(tags.room) = 2", ""),
    ("ABS(-3) = 3 AND SQUARE(3) = 9 AND SQRT(9) = 3 AND POWER(2, 3) = 8 AND SIGN(-2) = -1", "abcde"),
    ("FLOOR(properties.reported.temp) = 25 AND CEILING(properties.reported.temp) = 26", "b"),
    ("EXP(0) = 1 AND NOT SQRT(-1) = 1", ""),
    ("EXP(1000) = 1 OR deviceId = 'a'", "a"),
    ("properties.desired.$version = 2", "a"),
    ("properties.reported.$version > 2", ""),
    ("properties.desired.$metadata.fw.version.$lastUpdatedVersion = 2", "a"),
    ("STARTSWITH(properties.reported.$metadata.$lastUpdated, '20')", "abcde"),
    ("IS_DEFINED(properties.reported.$metadata.fw.version)", "ab"),
    ("IS_OBJECT(properties.reported.$metadata)", "abcde"),
    ("deviceId = 'b' OR DEVICEID = 'c'", "bc"),
    ("devices.deviceId IN ['a', 'e']", "ae"),
    ("moduleId = 'filter' OR IS_DEFINED(moduleId)", ""),
    ("status = 'disabled' AND statusReason = 'old'", "d"),
    ("IS_NULL(statusReason)", "abce"),
    ("statusReason != 'new'", "abcde"),
    ("statusUpdateTime = '0001-01-01T00:00:00Z'", "abcde"),
    ("connectionState = 'Disconnected'", "abcde"),
    ("lastActivityTime < '2000'", "abcde"),
    ("cloudToDeviceMessageCount = 0", "abcde"),
    ("authenticationType = 'sas' AND IS_NULL(x509Thumbprint.primaryThumbprint)", "abcde"),
    ("capabilities.iotEdge = true", "e"),
    ("Capabilities.IotEdge", "e"),
    ("IS_DEFINED(deviceScope) AND IS_ARRAY(parentScopes)", "e"),
    ("modelId = ''", "abcde"),
    ("version > 4", "a"),
    ("etag = 'AAAAAAAAAAM='", "a"),
    ("IS_DEFINED(configurations)", ""),
    ("property.reported.temp = 20", ""),
    ("nothing = 1 OR deviceId.more = 1 OR capabilities.more OR version.x = 1", ""),
    ("true", "abcde"),
    ("1", ""),
    ("'x'", ""),
    ("null", ""),
    ("undefined OR true", "abcde"),
    ("NOT undefined", ""),
    ("1 = 1.0 AND 'a' < 'b' AND NOT 1 = '1' AND null = null AND 'a' != null", "abcde"),
    ("tags.big = 1 OR 9223372036854775807 > 1", "abcde"),
]  # fmt: skip


@pytest.mark.parametrize(("condition", "devices"), CONDITIONS, ids=range(len(CONDITIONS)))
async def test_conditions(fleet, condition, devices):
    """Only those devices are found of which a condition is true: undefined, null and all else is not."""
    rows = await everything(fleet, f"SELECT deviceId FROM devices WHERE {condition}")
    assert "".join(row["deviceId"] for row in rows) == devices
    (counted,) = await everything(fleet, f"SELECT COUNT() AS n FROM devices WHERE {condition}")
    assert counted == {"n": len(devices)}


COLUMNS = [
    # what is selected of device a, and the row
    ("deviceId", {"deviceId": "a"}),
    ("DeviceID, STATUS", {"deviceId": "a", "status": "enabled"}),
    ("deviceId AS DeviceId", {"DeviceId": "a"}),
    ("tags.room, tags.floor AS storey", {"room": "Alpha", "storey": 1}),
    ("tags", {"tags": FLEET["a"][0]}),
    ("tags.nothing, deviceId", {"deviceId": "a"}),
    ("nothing", {}),
    ("properties.reported.fw", {"fw": {"version": "1.0"}}),
    ("properties.reported.l", {"l": [1]}),
    ("properties.desired.$version AS v", {"v": 2}),
    ("properties.reported.fw.version AS [[a b]], statusReason", {"a b": "1.0", "statusReason": None}),
    ("capabilities, capabilities.iotEdge AS e", {"capabilities": {"iotEdge": False}, "e": False}),
    ("Properties.Reported.temp", {"temp": 20}),
    ("x509Thumbprint.PrimaryThumbprint", {"primaryThumbprint": None}),
]  # fmt: skip


@pytest.mark.parametrize(("selected", "row"), COLUMNS, ids=range(len(COLUMNS)))
async def test_columns(fleet, selected, row):
    """A column has its alias, or its own name as the service spells it; what a twin has not is left out."""
    answer = await page(fleet, f"SELECT {selected} FROM devices WHERE deviceId = 'a'")
    assert (answer.items, answer.kind, answer.continuation) == ([row], "Raw", None)


async def test_whole_twins(fleet):
    """SELECT * gives twins as GET /twins/{id} does."""
    answer = await page(fleet, "SELECT * FROM devices")
    assert answer.kind == "Twin"
    assert answer.items == [fleet.hub.twins.to_json(*fleet.hub.twins.get(device)) for device in FLEET]


async def test_modules(fleet):
    """FROM devices.modules has the twins of modules, those of the runtime too."""
    rows = await everything(fleet, "SELECT deviceId, moduleId FROM devices.modules")
    assert [(row["deviceId"], row["moduleId"]) for row in rows] == [
        ("a", "filter"), ("e", "$edgeAgent"), ("e", "$edgeHub"), ("e", "filter"),
    ]  # fmt: skip
    rows = await everything(
        fleet,
        "SELECT * FROM Devices.Modules WHERE devices.modules.moduleId = 'filter' AND tags.kind = 'f' AND "
        "devices.deviceId = 'e' AND NOT IS_DEFINED(capabilities.iotEdge) AND cloudToDeviceMessageCount = 0 "
        "AND NOT IS_DEFINED(deviceScope) AND NOT IS_DEFINED(parentScopes)",
    )
    assert rows == [fleet.hub.twins.to_json(*fleet.hub.twins.get("e", "filter"))]
    (counted,) = await everything(fleet, "SELECT COUNT() AS n FROM devices.modules WHERE moduleId = 'filter'")
    assert counted == {"n": 2}


AGGREGATES = [
    # columns and clauses, and the rows
    ("COUNT() AS n", "", [{"n": 5}]),
    ("COUNT() AS n", "WHERE false", [{"n": 0}]),
    ("AVG(properties.reported.temp) AS m, SUM(properties.reported.temp) AS s", "", [{"m": 65.5 / 3, "s": 65.5}]),
    ("MIN(properties.reported.temp) AS l, MAX(properties.reported.temp) AS h", "", [{"l": 20, "h": 25.5}]),
    ("MIN(tags.room) AS l, MAX(tags.room) AS h", "", [{"l": "Alpha", "h": "beta"}]),
    ("MIN(deviceId) AS l, MAX(version) AS v, SUM(deviceId) AS s", "", [{"l": "a", "v": 5}]),
    ("MAX(tags.on) AS x, AVG(tags.room) AS y, SUM(tags) AS z, MIN(nothing) AS q", "", [{}]),
    ("SUM(tags.floor) AS s", "WHERE deviceId IN ['a', 'b']", [{"s": 3}]),
    ("tags.floor, COUNT() AS n", "GROUP BY tags.floor",
     [{"n": 1}, {"floor": {"deep": {"er": 7}}, "n": 1}, {"floor": 1, "n": 1}, {"floor": 2, "n": 1},
      {"floor": "2", "n": 1}]),
    ("COUNT() AS n, properties.reported.temp AS t", "GROUP BY properties.reported.temp",
     [{"n": 1}, {"t": None, "n": 1}, {"t": 20, "n": 2}, {"t": 25.5, "n": 1}]),
    ("tags.on", "GROUP BY tags.on", [{}, {"on": False}, {"on": True}]),
    ("status, COUNT() AS n, MAX(tags.floor) AS f", "WHERE NOT tags.floor = 1 GROUP BY Status",
     [{"status": "enabled", "n": 2, "f": "2"}]),
    ("capabilities.iotEdge AS e, COUNT() AS n", "GROUP BY capabilities.iotEdge",
     [{"e": False, "n": 4}, {"e": True, "n": 1}]),
    ("connectionState AS s, COUNT() AS n", "GROUP BY connectionState", [{"s": "Disconnected", "n": 5}]),
    ("nothing, COUNT() AS n", "GROUP BY nothing", [{"n": 5}]),
    ("COUNT() AS n", "GROUP BY tags.on", [{"n": 3}, {"n": 1}, {"n": 1}]),
    ("COUNT() AS n", "WHERE false GROUP BY tags.on", []),
    ("COUNT()", "", [{"$1": 5}]),
    ("count(), deviceId, Max(tags.floor)", "WHERE deviceId = 'b' GROUP BY deviceId",
     [{"$1": 1, "deviceId": "b", "$2": 2}]),
    ("COUNT() AS n, MIN(tags.floor)", "WHERE deviceId = 'b'", [{"n": 1, "$1": 2}]),
]  # fmt: skip


@pytest.mark.parametrize(("selected", "clauses", "rows"), AGGREGATES, ids=range(len(AGGREGATES)))
async def test_aggregates(fleet, selected, clauses, rows):
    """One row for each value, one of them for those that have none; without GROUP BY one row of all."""
    answer = await page(fleet, f"SELECT {selected} FROM devices {clauses}")
    assert answer.kind == "Raw"
    assert by_text(answer.items) == by_text(rows)


async def test_sums_that_are_no_number(fleet):
    """What is beyond every number is left out, as JSON has no word for it."""
    house = fleet
    for device in "ab":
        house.hub.twins.patch(device, "", {"tags": {"huge": 1.7e308}}, None)
    (row,) = await everything(house, "SELECT SUM(tags.huge) AS s, MAX(tags.huge) AS m FROM devices")
    assert row == {"m": 1.7e308}
    for device in "ab":
        house.hub.twins.patch(device, "", {"tags": {"huge": None}}, None)


FAULTS = [
    # a query that can be read and means nothing, the column, and a word
    ("SELECT * FROM device", 15, "no collection 'device'"),
    ("SELECT * FROM devices.module", 15, "no collection"),
    ("SELECT *  FROM devices GROUP BY tags.a", 33, "takes no SELECT"),
    ("SELECT deviceId, COUNT() AS n FROM devices", 8, "one of a GROUP BY"),
    ("SELECT tags.b, COUNT() AS n FROM devices GROUP BY tags.a", 8, "GROUP BY, 'tags.a'"),
    ("SELECT COUNT() AS n FROM devices GROUP BY tags", 43, "'tags' is an object"),
    ("SELECT COUNT() AS n FROM devices GROUP BY properties.desired", 43, "is an object"),
    ("SELECT tags.a, tags.b AS a FROM devices", 16, "two columns are called 'a'"),
    ("SELECT tags.x.a, tags.a FROM devices", 18, "two columns"),
    ("SELECT COUNT() AS n, AVG(tags.a) AS n FROM devices", 22, "two columns"),
    ("SELECT * FROM devices WHERE STARTS_WITH(deviceId, 'a')", 29, "Is STARTSWITH meant"),
    ("SELECT * FROM devices WHERE nonsense(deviceId)", 29, "no function NONSENSE. There are"),
    ("SELECT * FROM devices WHERE COUNT() > 1", 29, "no function COUNT"),
    ("SELECT * FROM devices WHERE IS_DEFINED()", 29, "takes 1 argument, and here it has 0"),
    ("SELECT * FROM devices WHERE IS_DEFINED(1)", 29, "takes a property"),
    ("SELECT * FROM devices WHERE CONTAINS(tags.a)", 29, "takes 2 arguments, and here it has 1"),
    ("SELECT * FROM devices WHERE SUBSTRING(tags.a, 1, 2, 3) = ''", 29, "takes 2 or more"),
    (f"SELECT * FROM devices WHERE CONCAT({', '.join(['tags.a'] * 17)}) = ''", 29, "more than 65536 characters"),
    (f"SELECT * FROM devices WHERE 1 = LENGTH(CONCAT(LOWER(CONCAT({', '.join(['tags.a'] * 16)})), 'x'))", 40,
     "more than 65536 characters"),
    ("SELECT COUNT(), COUNT() AS $1 FROM devices", 17, "two columns are called"),
    ("SELECT deviceId FROM devices.jobs", 8, "only SELECT"),
    ("SELECT COUNT() AS n FROM devices.jobs", 8, "only SELECT"),
    ("SELECT * FROM devices.jobs GROUP BY status", 37, "cannot be grouped"),
    ("SELECT * FROM devices.jobs WHERE tags.a = 1", 34, "not at the twin"),
    ("SELECT * FROM devices.jobs WHERE devices.jobs.properties.desired.a = 1", 34, "not at the twin"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "column", "word"), FAULTS, ids=range(len(FAULTS)))
async def test_faults_of_meaning(fleet, text, column, word):
    """400004 with the column."""
    with pytest.raises(QueryError, match=word) as caught:
        await page(fleet, text)
    assert caught.value.column == column
    with pytest.raises(QueryError, match=word):
        await fleet.hub.queries.count(text)


# -- pages ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 2, 3, 5, 6])
@pytest.mark.parametrize(
    "text",
    [
        "SELECT * FROM devices",
        "SELECT deviceId FROM devices",
        "SELECT deviceId, moduleId FROM devices.modules",
        "SELECT tags.floor, COUNT() AS n FROM devices GROUP BY tags.floor",
        "SELECT TOP 4 deviceId FROM devices",
        "SELECT TOP 4 tags.floor, COUNT() AS n FROM devices GROUP BY tags.floor",
        "SELECT TOP 4 * FROM devices WHERE NOT deviceId = 'b'",
        "SELECT TOP 1 COUNT() AS n FROM devices",
    ],
)
async def test_pages(fleet, text, count):
    """Page after page gives what one page does, each row once; no page is over its size, and none is empty."""
    whole = (await page(fleet, text)).items
    assert await everything(fleet, text, count) == whole
    first = await page(fleet, text, count)
    assert len(first.items) == min(count, len(whole))
    assert (first.continuation is None) is (count >= len(whole))
    assert await fleet.hub.queries.count(text) == len(whole)


TOKENS = ["x", "e30=", "W10=", "é", "WzEsMiwzLDQsNV0=", "A" * 4000, "bnVsbA==", "=", '["'] + [
    Position("d", "", row, left).token("another query") for row, left in ((0, None), (5, 5))
]  # fmt: skip


@pytest.mark.parametrize("token", TOKENS, ids=range(len(TOKENS)))
async def test_tokens_of_others(fleet, token):
    """A token that is none, or of another query, is 400."""
    with pytest.raises(ArgumentInvalid, match="x-ms-continuation"):
        await page(fleet, "SELECT * FROM devices", 2, token)


@pytest.mark.parametrize("parts", [
    [1, "d", "", 0, None], [None, None, None, None, None], ["", "d", "", -1, None], ["", "d", "", 2**31, None],
    ["", "d", "", True, None], ["", "d", "", 0, 1.5], ["", "d" * 300, "", 0, None], ["", "\ud800", "", 0, None],
    [[], {}, "", 0, None], ["", "d", "", 0], {"a": 1}, "abcde", 5,
])  # fmt: skip
async def test_tokens_that_somebody_wrote(fleet, parts):
    """Each part of a token is checked."""
    text = "SELECT * FROM devices"
    own = json.loads(base64.urlsafe_b64decode(Position().token(text)))[0]
    if isinstance(parts, list) and parts and parts[0] == "":
        parts = [own, *parts[1:]]
    token = base64.urlsafe_b64encode(json.dumps(parts).encode()).decode()
    with pytest.raises(ArgumentInvalid, match="x-ms-continuation"):
        await page(fleet, text, 2, token)
