"""Queries that nobody would write: each is answered, or is a 400 with a place, and what is true is what it says."""

import asyncio
import json
import random

import pytest
from house import House
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from query_oracle import holds

from iotedge_lab.errors import ArgumentInvalid
from iotedge_lab.hub.query.functions import FUNCTIONS
from iotedge_lab.hub.query.grammar import parse_condition
from iotedge_lab.hub.query.hints import KEYWORDS
from iotedge_lab.hub.query.queries import MOST
from iotedge_lab.hub.query.reader import connect
from iotedge_lab.hub.query.statement import GroupQuery, compile_query
from iotedge_lab.hub.query.syntax import MAX_DEPTH, MAX_LENGTH, QueryError

FEW = settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
VALUES = [
    *(0, 1, 2, -1, 7, 2.0, 2.5, -0.5, 1e300, 20),
    *("", "a", "A", "ab", "b", "ba"),
    *("2", " 2.50 ", "ß", "é", "\U0001f697", "x" * 300, "it's", 'say "a"', "\\"),
    *(True, False, {}, {"d": 1}, {"d": "a"}, {"d": {"d": True}}, [], [1], ["a"]),
]  # fmt: skip


@pytest.fixture(scope="module")
def fleet(tmp_path_factory):
    """Forty twins, no two alike; some have a null among what they report."""
    house = House(tmp_path_factory.mktemp("fuzz"))
    chance = random.Random(8)
    for number in range(40):
        device = f"d{number:02}"
        house.register(device, **({"status": "disabled"} if number % 5 == 0 else {}))
        for section in ("tags", "desired"):
            some = {
                name: chance.choice(VALUES) for name in ("a", "b", "c", 'q"t', "ü-1") if chance.random() < 0.8
            }
            body = {"tags": some} if section == "tags" else {"properties": {"desired": some}}
            house.hub.twins.patch(device, "", body, None)
        house.hub.twins.report(device, "", {"a": chance.choice(VALUES)})
        if number % 4 == 0:
            with house.hub.store.transaction() as db:
                db.execute("UPDATE twin SET reported = ? WHERE device = ?", ('{"a":null}', device))
    house.turns.run()
    yield house
    house.hub.close()


@pytest.fixture(scope="module")
def expected(fleet):
    """The devices of which a condition is true, worked out in Python on the twins as they are shown."""
    twins = fleet.hub.twins
    documents = [twins.to_json(*twins.get(f"d{number:02}", "")) for number in range(40)]

    def found(text):
        read = parse_condition(text)
        return [document["deviceId"] for document in documents if holds(read, document)]

    return found


@pytest.fixture(scope="module")
def db(fleet):
    """A connection such as queries have."""
    made = connect(fleet.hub.store.path)
    yield made
    made.close()


@pytest.fixture(scope="module")
def ask(fleet):
    """Asks the hub: a page, or None where the query is a 400; anything else fails."""
    with asyncio.Runner() as runner:

        def asked(text):
            try:
                return runner.run(fleet.hub.queries.page(text, MOST))
            except ArgumentInvalid as caught:
                error = caught
            assert len(str(error)) < 1500
            if isinstance(error, QueryError):
                assert 1 <= error.column <= len(text) + 1
                assert 1 <= error.line <= text.count("\n") + 1
            else:
                assert "too complex" in str(error)
            return None

        yield asked


# -- what a condition comes to -------------------------------------------------------------------------

PATHS = [
    *("tags.a", "tags.b", "tags.c", "tags.c.d", "tags.c.d.d", 'tags.[[q"t]]', 'tags.[[q"t]].d', "tags.[[ü-1]]"),
    *("tags", "tags.nothing", "properties.desired.a", "properties.reported.a", "properties.reported.a.d"),
    *("deviceId", "status", "statusReason", "capabilities.iotEdge", "properties.desired.$version", "nothing"),
]  # fmt: skip


def quoted(text):
    """A text of the query language."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def called(name, *arguments):
    return st.tuples(*arguments).map(lambda given: f"{name}({', '.join(given)})")


def between(operators, operands):
    return st.tuples(operands, st.sampled_from(operators), operands).map(lambda made: f"({' '.join(made)})")


numbers = [json.dumps(value) for value in VALUES if type(value) in (int, float)]
texts = [quoted(value) for value in VALUES if isinstance(value, str)]
constant = st.sampled_from([*numbers, *texts, "true", "false", "null", "undefined"])
leaf = st.sampled_from(PATHS) | constant
listed = st.lists(constant, max_size=4).map(lambda values: f"[{', '.join(values)}]")


def grown(inner):
    """Whatever can be made of expressions: also what makes no sense."""
    tests = [name for name in FUNCTIONS if name.startswith("IS_") and name != "IS_DEFINED"]
    ones = [
        "AS_NUMBER",
        "LENGTH",
        "LOWER",
        "UPPER",
        "ABS",
        "SIGN",
        "SQUARE",
        "CEILING",
        "FLOOR",
        "SQRT",
        "EXP",
    ]
    twos = ["STARTSWITH", "ENDSWITH", "CONTAINS", "INDEX_OF", "CONCAT", "POWER", "SUBSTRING"]
    return st.one_of(
        between(["=", "!=", "<>"], inner),
        between(["<", "<=", ">", ">="], inner),
        between(["AND", "OR"], inner),
        between(["+", "-", "*", "/", "%"], inner),
        inner.map(lambda one: f"(NOT {one})"),
        inner.map(lambda one: f"(- {one})"),
        st.tuples(inner, st.sampled_from(["IN", "NIN"]), listed).map(lambda made: f"({' '.join(made)})"),
        st.sampled_from(tests).flatmap(lambda name: called(name, inner)),
        st.sampled_from(ones).flatmap(lambda name: called(name, inner)),
        st.sampled_from(twos).flatmap(lambda name: called(name, inner, inner)),
        called("SUBSTRING", inner, inner, inner),
        called("IS_DEFINED", st.sampled_from(PATHS)),
    )


condition = st.recursive(leaf, grown, max_leaves=10)


@settings(FEW, max_examples=600)
@given(text=condition)
@example(text="ABS(-9223372036854775807 - 1) > 0")
@example(text="9223372036854775807 + 1 > 1")
@example(text="-1e308 * 10 < 0")
def test_what_is_true(db, expected, text):
    """SQLite finds those twins for which the condition, worked out in Python, is true."""
    found = compile_query(f"SELECT deviceId FROM devices WHERE {text}", 0).keys(db, ("", ""), 100)
    assert [device for device, _ in found] == expected(text)


# -- what is no query ----------------------------------------------------------------------------------

WORDS = [
    *sorted(KEYWORDS), *sorted(FUNCTIONS), *PATHS, *numbers, *texts[:6], *"*()[],.+-/%=<>'\"$\\{}?;:#",
    *("devices", "devices.modules", "devices.jobs", "COUNT()", "AVG(tags.a)", "!=", "<>", "<=", "--", "/*", "*/", "[["),
    *("]]", "0x1F", "1e999", "?1", ":x", "'; DROP TABLE twin; --", "\n", "\t", "\x00", "\u0131", "\ud800", "LIKE"),
]  # fmt: skip
QUERIES = [
    "SELECT * FROM devices WHERE tags.a = 'b' AND properties.reported.x > 5 OR NOT IS_DEFINED(tags.c)",
    "SELECT deviceId AS id, tags.a, properties.desired.$metadata FROM devices.modules WHERE tags.x IN ['a', 2, null]",
    "SELECT TOP 5 tags.a, COUNT() AS n, AVG(tags.b) AS m FROM devices WHERE tags.[[a b]] % 2 = 1 GROUP BY tags.a",
]  # fmt: skip


@FEW
@given(text=st.text(max_size=200))
def test_any_text(ask, text):
    """No text at all is anything but an answer or a 400."""
    ask(text)


@FEW
@given(words=st.lists(st.sampled_from(WORDS), max_size=25), clauses=st.booleans())
def test_any_words(ask, words, clauses):
    """Nor are the language's own words in any order."""
    ask(f"SELECT * FROM devices WHERE {' '.join(words)}" if clauses else " ".join(words))


@FEW
@given(data=st.data())
def test_slips(ask, data):
    """Nor is a query in which something is missing, doubled, changed or moved."""
    text = data.draw(st.sampled_from(QUERIES))
    for _ in range(data.draw(st.integers(1, 3))):
        first, second = sorted((data.draw(st.integers(0, len(text))), data.draw(st.integers(0, len(text)))))
        middle = data.draw(st.sampled_from([
            "", text[first:second] * 2, text[first:second][::-1], *WORDS[:8], *"()[]'\"\\,. ",
        ]))  # fmt: skip
        text = text[:first] + middle + text[second:]
    ask(text)


@FEW
@given(
    selected=st.lists(
        st.tuples(st.sampled_from(["COUNT()", *(f"{name}(%s)" for name in ("AVG", "SUM", "MIN", "MAX"))]),
                  st.sampled_from(PATHS)), min_size=1, max_size=4),
    group=st.none() | st.sampled_from(PATHS),
    where=st.none() | condition,
)  # fmt: skip
def test_any_aggregates(ask, selected, group, where):
    """Aggregates of anything, grouped by anything, have an answer, unless they group by an object."""
    columns = [
        (name % path if "%" in name else name) + f" AS c{at}" for at, (name, path) in enumerate(selected)
    ]
    text = f"SELECT {', '.join(columns)} FROM devices"
    text += f" WHERE {where}" if where else ""
    answer = ask(f"{text} GROUP BY {group}" if group else text)
    assert (answer is None) is (group == "tags")
    if answer is not None:
        json.dumps(answer.items, allow_nan=False)
    if answer is not None and where is None and selected[0][0] == "COUNT()":
        assert sum(row["c0"] for row in answer.items) == 40


# -- bounds --------------------------------------------------------------------------------------------


def filled(part, start="SELECT * FROM devices WHERE ", end=""):
    """A part over and over, to a query of the greatest length."""
    return start + part * ((MAX_LENGTH - len(start) - len(end)) // len(part)) + end


def opened(before, middle, after, depth):
    return f"SELECT * FROM devices WHERE {before * depth}{middle}{after * depth} = 1"


LONG = [
    *(filled(part) for part in (
        "'", '"', "''", "\\'", "\\", "'\\'", "/*", "/**/", "*/", "[[", "]]", "[", "(", ")", "-", "- ", "NOT ", "a.",
        ".", "1", "1.", "1e", "0x", "e", "$", "$a", "tags.a = 1 OR ", "1+", "a,", "\n", " ", "\x00", "é", "/", "'a'",
        "tags.[[a]]", "/* * ", "tags.a IN [1] AND ", "IS_DEFINED(", "A(", "SELECT ",
    )),
    *(filled(part, "SELECT * FROM devices WHERE tags.a IN [", "1]") for part in ("1,", "'abc',", "null,", "1e300,")),
    *(filled(part, end="true") for part in (
        "tags.a = 1 OR ", "tags.b AND ", "tags.a = tags.b OR ", "true OR ", "NOT tags.a OR ", "tags.a IN [1] OR ",
        "CONTAINS(tags.a, 'x') OR ", "(tags.a = 1 AND tags.b = 1) OR ", "IS_DEFINED(a) OR ",
    )),
    *(filled(part, end="1 = 1") for part in ("1 + ", "- ", "tags.a * ", "1 - tags.a / ")),
    *(filled(part, "SELECT deviceId, ", "a FROM devices") for part in ("a,", "tags.a,", "COUNT() AS n,")),
    filled("a.", "SELECT * FROM devices WHERE IS_DEFINED(", "a)"),
    filled("tags.a, ", "SELECT * FROM devices WHERE CONCAT(", "tags.a) = 'x'"),
    filled("tags.a, ", "SELECT COUNT() AS n FROM devices GROUP BY ", "a"),
    filled("x", "SELECT COUNT() AS ", " FROM devices"),
    filled("x", "SELECT TOP ", " * FROM devices"),
    filled("9", "SELECT TOP ", " * FROM devices"),
    filled("9", "SELECT * FROM devices WHERE 1 = "),
    filled("F", "SELECT * FROM devices WHERE 1 = 0x"),
    filled("\\ud83d", "SELECT * FROM devices WHERE 'x' = '", "'"),
    filled(" ", "SELECT", "* FROM devices"),
    "x" * 1_000_000,
    "(" * 1_000_000,
]  # fmt: skip


@pytest.mark.parametrize("text", LONG, ids=range(len(LONG)))
def test_long_queries(ask, text):
    """The longest query has its answer, or its 400; what is longer is not even read."""
    answer = ask(text)
    assert answer is None or len(text) <= MAX_LENGTH


async def test_long_texts_that_are_nearly_alike(house):
    """The longest that can be put together is looked for in another one; the answer is the right one, and comes."""
    house.register("a")
    tags = {"a": "a" * 3000, "b": "a" * 2999 + "b"}
    house.hub.twins.patch("a", "", {"tags": tags}, None)
    whole = f"CONCAT({', '.join(['tags.a'] * 15)}, tags.b)"
    for part, place in (
        (f"CONCAT({', '.join(['tags.a'] * 7)}, tags.b)", 8 * 3000),
        ("CONCAT(tags.b, tags.a)", -1),
    ):
        text = f"SELECT deviceId FROM devices WHERE INDEX_OF({whole}, {part}) = {place}"
        assert len((await house.hub.queries.page(text, 1)).items) == 1
        for name, found in (
            ("CONTAINS", place >= 0),
            ("STARTSWITH", False),
            ("ENDSWITH", place >= 0),
        ):
            text = f"SELECT deviceId FROM devices WHERE {name}({whole}, {part})"
            assert len((await house.hub.queries.page(text, 1)).items) == found


DEEP = [
    ("(", "1", ")"), ("-", "tags.a", ""), ("ABS(", "tags.a", ")"), ("LOWER(", "tags.a", ")"),
    ("CONCAT('a', ", "tags.a", ")"), ("CONCAT(", "tags.a", ", tags.b)"), ("(1 + ", "tags.a", ")"),
    ("(", "tags.a", " * tags.b)"),
    ("(tags.a = ", "tags.a", ")"), ("(", "tags.a", " = tags.b)"), ("(", "tags.a", " < 5)"), ("(NOT ", "tags.a", ")"),
    ("(tags.b AND ", "tags.a", ")"), ("(NOT (tags.b OR ", "tags.a", "))"), ("(", "tags.a", " IN [1, 'a', true])"),
    ("IS_NUMBER(", "tags.a", ")"), ("STARTSWITH(", "tags.a", ", 'a')"), ("ENDSWITH(", "tags.a", ", 'a')"),
    ("CONTAINS(", "tags.a", ", tags.b)"), ("SUBSTRING(", "tags.a", ", 1)"), ("AS_NUMBER(", "tags.a", ")"),
    ("POWER(", "tags.a", ", 2)"), ("(1 % ", "tags.a", ")"), ("IS_NULL(tags.b = ", "tags.a", ")"),
]  # fmt: skip


@pytest.mark.parametrize("parts", DEEP, ids=range(len(DEEP)))
def test_deep_queries(ask, db, expected, parts):
    """What is nested as deep as may be is worked out, and its SQL grows with the query, not with a power of it."""
    deepest, refused = None, ""
    for depth in range(1, MAX_DEPTH + 2):
        text = opened(*parts, depth)
        try:
            compiled = compile_query(text, 0)
        except QueryError as error:
            refused = error.reason
            break
        assert len(compiled.where) < 400 * len(text)
        deepest = text
    assert "nested deeper" in refused or parts[0] in ("(", "(tags.b AND ")  # these do not nest
    assert ask(deepest) is not None
    found = compile_query(deepest, 0).keys(db, ("", ""), 100)
    where = deepest.partition("WHERE ")[2]
    assert [device for device, _ in found] == expected(where)


def test_what_is_too_much_for_the_store(fleet):
    """What SQLite itself will not read is the query's fault: a 400, not a store that is broken."""
    with asyncio.Runner() as runner, pytest.raises(ArgumentInvalid, match="too complex"):
        runner.run(fleet.hub.queries.read(lambda db: db.execute(f"SELECT {'(' * 5000}1{')' * 5000}")))


@pytest.mark.parametrize("function", sorted(FUNCTIONS))
@pytest.mark.parametrize(
    "argument", ["tags", "tags.a", "nothing", "null", "true", "1", "'a'", "-9223372036854775807 - 1"]
)
def test_functions_of_anything(ask, function, argument):
    """Each function takes any values, as many as it has."""
    for count in range(5):
        text = f"SELECT * FROM devices WHERE {function}({', '.join([argument] * count)}) = 1"
        takes = FUNCTIONS[function].least <= count <= FUNCTIONS[function].most
        property_only = function == "IS_DEFINED" and argument not in ("tags", "tags.a", "nothing")
        assert (ask(text) is not None) is (takes and not property_only)


def test_groups_are_counted(ask):
    """A query of groups has a page as any other has."""
    assert isinstance(compile_query("SELECT COUNT() AS n FROM devices GROUP BY tags.a", 0), GroupQuery)
    assert sum(row["n"] for row in ask("SELECT COUNT() AS n FROM devices GROUP BY tags.a").items) == 40
