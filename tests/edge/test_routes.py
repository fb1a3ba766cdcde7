"""Routes: the language, its sources and sinks, its errors, and that no text keeps it busy."""

import json
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from route_cases import BODY, CONDITIONS, PROPERTIES, REFUSED, SYSTEM, F, T, U, message

from iotedge_lab.edge.errors import RouteError
from iotedge_lab.edge.routes import ModuleInput, RoutedMessage, Upstream, parse_route
from iotedge_lab.edge.routes.functions import FUNCTIONS
from iotedge_lab.edge.routes.grammar import MAX_LENGTH
from iotedge_lab.errors import UsageError

PREFIX = "FROM /* WHERE "


def where(condition):
    return parse_route(f"{PREFIX}{condition} INTO $upstream")


def attempt(text):
    """The route that a text is, or the RouteError that it gets."""
    try:
        return parse_route(text), None
    except RouteError as refused:
        return None, refused


# -- conditions --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("condition", "expected"), CONDITIONS)
def test_condition(condition, expected):
    """A condition comes to what the table says; undefined ones match neither as they are nor negated."""
    assert where(condition).matches(message()) is (expected == T)
    if expected == F:
        assert where(f"not ({condition})").matches(message())


@pytest.mark.parametrize("condition", [condition for condition, expected in CONDITIONS if expected == U])
def test_undefined_is_no_match_either_way(condition):
    """The negation of an undefined condition does not match (where it compiles at all)."""
    negated, refused = attempt(f"{PREFIX}not ({condition}) INTO $upstream")
    if negated is None:
        assert "'not' takes" in str(refused)  # a number or a text alone
    else:
        assert not negated.matches(message())


def test_each_function_is_in_the_table():
    """No function goes untested, and there are the runtime's 23."""
    everything = " ".join(condition.lower() for condition, _ in CONDITIONS)
    assert len(FUNCTIONS) == 23
    assert [name for name in FUNCTIONS if f"{name}(" not in everything] == []


@pytest.mark.parametrize(("condition", "column", "part"), REFUSED)
def test_refused(condition, column, part):
    """A condition that cannot work is refused at the place of its fault, and the error says what to do."""
    with pytest.raises(RouteError) as refused:
        where(condition)
    assert part in str(refused.value)
    assert refused.value.column == len(PREFIX) + column, str(refused.value)


def test_the_error_shows_the_place():
    """The text of an error has a caret under the place, whatever white space the route holds."""
    with pytest.raises(RouteError) as refused:
        parse_route("FROM /messages/*\n\tWHERE colour == 'red' INTO $upstream")
    first, line, caret = str(refused.value).split("\n")
    assert first == "column 33: '=' cannot stand here. Equality is written with one '='. Expected a value."
    assert line == "  FROM /messages/*  WHERE colour == 'red' INTO $upstream"
    assert caret.index("^") == line.index("==") + 1
    assert refused.value.summary == first
    assert isinstance(refused.value, UsageError)


def test_a_long_route_is_shown_in_part():
    """An error in a long route shows the part around its place."""
    with pytest.raises(RouteError) as refused:
        where(" or ".join(["colour = 'red'"] * 60) + " or 3 or " + " or ".join(["colour = 'red'"] * 60))
    _, line, caret = str(refused.value).split("\n")
    assert len(line) < 120
    assert line.startswith("  ...")
    assert line.endswith("...")
    assert line[caret.index("^")] == "3"


# -- the body ----------------------------------------------------------------------------------------------

BODIES = [
    # What conditions need to see of the sender, and what comes of it
    (BODY, SYSTEM, None),
    (BODY, SYSTEM | {"content-type": "Application/JSON", "content-encoding": "UTF-8"}, None),
    (BODY.decode().encode("utf-16"), SYSTEM | {"content-encoding": "utf-16"}, None),
    (BODY.decode().encode("utf-32"), SYSTEM | {"content-encoding": "UTF-32"}, None),
    (b"\xef\xbb\xbf" + BODY, SYSTEM, None),
    (BODY, {}, "content_type"),
    (BODY, {"content-encoding": "utf-8"}, "content_type"),
    (BODY, {"content-type": "application/json"}, "content_encoding"),
    (BODY, SYSTEM | {"content-type": "text/plain"}, "content_type"),
    (BODY, SYSTEM | {"content-encoding": "latin-1"}, "content_encoding"),
    (b"not json", SYSTEM, "not JSON"),
    (b"", SYSTEM, "not JSON"),
    (b"\xff\xfe", SYSTEM, "not JSON"),
    (b"[1, 2]", SYSTEM, "no object"),
    (b"[" * 100_000, SYSTEM, "not JSON"),
    (b'{"a": ' * 50_000 + b"1" + b"}" * 50_000, SYSTEM, "not JSON"),
    (b'{"a": ' + b"9" * 6000 + b"}", SYSTEM, "not JSON"),
]


@pytest.mark.parametrize(("body", "system", "fault"), BODIES, ids=range(len(BODIES)))
def test_body(body, system, fault):
    """Conditions see a body that is said to be JSON and is; else it is undefined and the fault has a word."""
    route, sent = where("$body.machine.count = 7"), message(body, system)
    assert route.needs_body
    assert route.matches(sent) is (fault is None)
    assert (sent.body_fault is None) if fault is None else (fault in sent.body_fault)
    assert not where("not ($body.machine.count != 7)").matches(sent) or fault is None


@pytest.mark.parametrize(
    ("number", "condition"),
    [
        ("1e999", "> 1e308"),
        ("-" + "9" * 400, "< -1e308"),
        ("12345678901234567890", "> 1.2e19"),
        ("-0.0", "= 0"),
    ],
)
def test_numbers_of_the_body(number, condition):
    """Numbers of any size in a body are compared as double floats."""
    assert where(f"$body.x {condition}").matches(message(f'{{"x": {number}}}'.encode()))


def test_the_body_is_read_once_and_only_if_needed(monkeypatch):
    """A condition on properties never reads the body; several on the body read it once."""
    read = []
    loads = json.loads
    monkeypatch.setattr(
        "iotedge_lab.edge.routes.message.json.loads", lambda text: read.append(1) or loads(text)
    )
    sent = message()
    assert where("colour = 'red'").matches(sent)
    assert where("true or $body.machine.count = 7").matches(sent)
    assert read == []
    assert where("$body.machine.count = 7").matches(sent)
    assert where("$body.readings[0] = 20 and $body.machine.on").matches(sent)
    assert read == [1]
    broken = message(b"{")
    assert not where("$body.a = 1 or $body.b = 1").matches(broken)
    assert broken.body_fault
    assert read == [1, 1]


# -- sources and sinks -------------------------------------------------------------------------------------

OUT, BARE, LEAF, TWIN = "module's output", "module, no output", "leaf device", "twin change"
SENDERS = {
    OUT: RoutedMessage("Press", "out", {}, {}, b""),
    BARE: RoutedMessage("Press", None, {}, {}, b""),
    LEAF: RoutedMessage(None, None, {}, {}, b"", device="leaf"),
    TWIN: RoutedMessage("Press", None, {}, {}, b"", twin_change=True),
}
SOURCES = [
    ("/*", {OUT, BARE, LEAF, TWIN}),
    ("/messages/*", {OUT, BARE, LEAF}),
    ("/messages", {OUT, BARE, LEAF}),
    ("/Messages/*", {OUT, BARE, LEAF}),
    ("/messages/events", {LEAF}),
    ("/messages/modules/*", {OUT, BARE}),
    ("/messages/modules", {OUT, BARE}),
    ("/messages/modules/Press/*", {OUT, BARE}),
    ("/messages/modules/press", {OUT, BARE}),
    ("/messages/modules/Pres/*", set()),
    ("/messages/modules/Press2/*", set()),
    ("/messages/modules/Press/outputs/*", {OUT}),
    ("/messages/modules/Press/outputs/out", {OUT}),
    ("/messages/modules/Press/outputs/OUT/*", {OUT}),
    ("/messages/modules/Press/outputs/ou", set()),
    ("/messages/modules/Other/outputs/out", set()),
    ("/twinChangeNotifications", {TWIN}),
    ("/twinChangeNotifications/*", {TWIN}),
    ("/messages/modules/into/outputs/where", set()),  # keywords and numbers are names here
    ("/messages/modules/1/outputs/2.5", set()),
]


@pytest.mark.parametrize(("source", "senders"), SOURCES)
def test_source(source, senders):
    """A source takes what the documents say it takes."""
    route = parse_route(f"FROM {source} INTO $upstream")
    assert {name for name, sent in SENDERS.items() if route.matches(sent)} == senders


SINKS = [
    ("$upstream", Upstream()),
    ("$UPSTREAM", Upstream()),
    ('BrokeredEndpoint("/modules/F/inputs/in-1")', ModuleInput("F", "in-1")),
    ("BrokeredEndpoint('/modules/F/inputs/in-1')", ModuleInput("F", "in-1")),
    ('brokeredendpoint ( " modules/F/inputs/in-1/ " )', ModuleInput("F", "in-1")),
    ('BrokeredEndpoint("/Modules/f/Inputs/x")', ModuleInput("f", "x")),
]


@pytest.mark.parametrize(("sink", "endpoint"), SINKS)
def test_sink(sink, endpoint):
    """A sink is the hub or a module's input, in either kind of quotes."""
    assert parse_route(f"FROM /messages/* INTO {sink}").endpoint == endpoint
    assert parse_route(str(parse_route(f"FROM /* INTO {endpoint}"))).endpoint == endpoint


def test_keywords_in_any_case_and_the_old_form():
    """Keywords are read in any case, over several lines, and with the `SELECT *` of early previews."""
    route = parse_route(
        "select * from\n  /messages/* Where not IS_DEFINED($connectionModuleId)\ninto $upstream"
    )
    assert route.condition == "not IS_DEFINED($connectionModuleId)"
    assert not route.needs_body
    assert [name for name, sent in SENDERS.items() if route.matches(sent)] == [LEAF]


WRONG_ROUTES = [
    ("", 1, "empty"),
    ("   ", 1, "empty"),
    ("FROM", 5, "a source such as"),
    ("FROM messages INTO $upstream", 6, "a source such as"),
    ("FROM / INTO $upstream", 13, "'/'"),
    ("FROM /messages/modules/*/outputs/* INTO $upstream", 6, "not its last part"),
    ("FROM /messages/modules/M/outputs/out* INTO $upstream", 6, "not its last part"),
    ("FROM /message/* INTO $upstream", 6, "/messages/events"),
    ("FROM /messages/modules/M/inputs/x INTO $upstream", 6, "no source"),
    ("FROM /messages/modules/M/outputs/a/b INTO $upstream", 6, "no source"),
    ("FROM /twinChangeNotifications/x INTO $upstream", 6, "no source"),
    ("FROM /* INTO $downstream", 14, "BrokeredEndpoint"),
    ("FROM /* INTO Endpoint('/modules/M/inputs/i')", 14, "BrokeredEndpoint"),
    ("FROM /* INTO BrokeredEndpoint('/modules/M/i')", 31, "/modules/{module}/inputs/{input}"),
    ("FROM /* INTO BrokeredEndpoint('/modules//inputs/i')", 31, "names no input"),
    ("FROM /* INTO BrokeredEndpoint('/modules/M/outputs/i')", 31, "names no input"),
    ("FROM /* INTO BrokeredEndpoint('/modules/M/inputs/i'", 52, "')'"),
    ("FROM /* INTO $upstream WHERE colour = 'red'", 24, "stands before INTO"),
    ("FROM /* INTO $upstream $upstream", 24, "the end"),
    ("FROM /* WHERE INTO $upstream", 15, "a value"),
    ("FROM /* WHERE true", 19, "INTO"),
    ("INTO $upstream", 1, "FROM"),
    ("FROM /* INTO $upstream;", 23, "no meaning"),
    ("FROM /* INTO $upstream" + " " * MAX_LENGTH, MAX_LENGTH + 1, "at most 4096"),
]


@pytest.mark.parametrize(("text", "column", "part"), WRONG_ROUTES)
def test_wrong_route(text, column, part):
    """A route that cannot be read is refused at the place of its fault."""
    with pytest.raises(RouteError) as refused:
        parse_route(text)
    assert part in str(refused.value)
    assert refused.value.column == column, str(refused.value)


def test_equality():
    """Two routes of one text are one."""
    assert where("colour = 'red'") == where("colour = 'red'")
    assert where("colour = 'red'") != where("colour = 'blue'")
    assert len({where("true"), where("true")}) == 1


# -- bounds ------------------------------------------------------------------------------------------------

HUGE = [
    "(" * 1900 + "true" + ")" * 1900,
    "not " * 1000 + "true",
    "- " * 2000 + "3 = 3",
    " or ".join(["colour = 'blue'"] * 220),
    " and ".join(["colour = 'red'"] * 220),
    " + ".join(["1"] * 1000) + " = 1000",
    " || ".join(["'a'"] * 500) + " = 'a'",
    " ?? ".join(["missing"] * 400) + " ?? 'x' = 'x'",
    "abs(" * 900 + "1" + ")" * 900 + " = 1",
    " = ".join(["true"] * 570),
    "concat(" + ", ".join(["'a'"] * 800) + ") = 'b'",
    "$body." + ".".join(["a"] * 1900) + " = 1",
    "'" + "\\" * 4000,
    '"' + '\\"' * 2000,
    "'" * 4000,
    "/*" * 2000,
    "$" * 4000,
]


@pytest.mark.parametrize("condition", HUGE, ids=range(len(HUGE)))
def test_huge_conditions_end(condition):
    """What is long or deeply nested is answered or refused, and soon; neither stack nor time runs out."""
    began = time.perf_counter()
    route, refused = attempt(f"{PREFIX}{condition} INTO $upstream")
    assert route.matches(message()) in (True, False) if route else refused.reason
    assert time.perf_counter() - began < 5


PIECES = st.sampled_from(
    [
        *"()*/+-%<>={},.'\"\\[]$?!|&@ \n\t",
        *(
            "FROM",
            "WHERE",
            "INTO",
            "SELECT",
            "and",
            "or",
            "not",
            "true",
            "null",
            "undefined",
            "||",
            "??",
            "<>",
        ),
        *(
            "/messages/*",
            "/*",
            "*/",
            "$upstream",
            "$body.a",
            "$body.a[0]",
            "{$x}",
            "name",
            "'text'",
            "3",
            "-4.5e6",
        ),
        *(
            "0x1F",
            "BrokeredEndpoint('/modules/M/inputs/i')",
            "is_defined(",
            "length(x)",
            "concat('a', ",
            "\u00e9",
        ),
    ]
)
ANYTHING = st.one_of(
    st.text(max_size=60),
    st.lists(PIECES, max_size=25).map(" ".join),
    st.lists(PIECES, max_size=25).map("".join),
    st.lists(PIECES, max_size=12).map(lambda parts: f"{PREFIX}{' '.join(parts)} INTO $upstream"),
)


@settings(max_examples=400, deadline=5000, suppress_health_check=[HealthCheck.too_slow])
@given(ANYTHING)
def test_any_text_is_a_route_or_a_route_error(text):
    """Any text gives a route that answers for a message, or a RouteError with a place in the text."""
    route, refused = attempt(text)
    if route is None:
        assert 1 <= refused.column <= len(text) + 1
        assert refused.reason
    else:
        assert route.matches(message()) in (True, False)
        assert parse_route(route.text) == route


NUMBERS = st.floats(allow_nan=False, allow_infinity=False, width=32).filter(
    lambda x: x == 0 or abs(x) > 1e-30
)


@settings(max_examples=100, deadline=5000)
@given(NUMBERS, NUMBERS, st.sampled_from(["=", "!=", "<", "<=", ">", ">="]))
def test_numbers_compare_as_python_compares_them(left, right, operator):
    """Literals, properties and body values of two numbers compare alike, and as Python does."""
    expected = {
        "=": left == right,
        "!=": left != right,
        "<": left < right,
        "<=": left <= right,
        ">": left > right,
        ">=": left >= right,
    }[operator]
    sent = message(
        json.dumps({"l": left, "r": right}).encode(), properties={"l": repr(left), "r": repr(right)}
    )
    for one, other in (
        (f"{left!r}", f"{right!r}"),
        ("as_number(l)", f"{right!r}"),
        ("$body.l", "as_number(r)"),
        ("$body.l", "$body.r"),
    ):
        assert where(f"{one} {operator} {other}").matches(sent) is expected


def test_properties_without_a_match_by_case_are_found_by_any_case():
    """Of two names that differ in case only, the one that is written exactly so counts."""
    sent = message(properties={"Colour": "upper", "colour": "lower"})
    assert where("Colour = 'upper' and colour = 'lower'").matches(sent)
    assert PROPERTIES["colour"] == "red"
