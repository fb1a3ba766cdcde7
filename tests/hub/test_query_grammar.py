"""Reading queries: what the language is, and where each fault is said to be."""

import pytest

from iotedge_lab.hub.query.grammar import parse_condition, parse_statement, parse_target
from iotedge_lab.hub.query.syntax import (
    MAX_DEPTH,
    MAX_LENGTH,
    Call,
    Literal,
    Membership,
    Operation,
    Path,
    QueryError,
    Undefined,
)


def said(expression):
    """An expression as a text with every bracket, for comparison."""
    match expression:
        case Path(names=names):
            return ".".join(names)
        case Literal(value=value):
            return "undefined" if value is Undefined.UNDEFINED else repr(value)
        case Membership(operand=operand, values=values, negated=negated):
            return f"({said(operand)} {'NIN' if negated else 'IN'} {list(values)})"
        case Operation(operator="NOT" | "NEGATIVE" as operator, operands=(operand,)):
            return f"({operator} {said(operand)})"
        case Operation(operator=operator, operands=operands):
            return f"({f' {operator} '.join(said(one) for one in operands)})"
        case Call(name=name, arguments=arguments):
            return f"{name}({', '.join(said(one) for one in arguments)})"
    raise AssertionError(expression)


CONDITIONS = [
    # a condition, and what it is read as
    ("tags.location.region = 'US'", "(tags.location.region = 'US')"),
    ("a<>1 AND b!=2", "((a != 1) AND (b != 2))"),
    ("a = 1 OR b = 2 AND c = 3", "((a = 1) OR ((b = 2) AND (c = 3)))"),
    ("a = 1 or (b = 2 or c = 3) OR d = 4", "((a = 1) OR (b = 2) OR (c = 3) OR (d = 4))"),
    ("NOT a = 1 AND not b = 2", "((NOT (a = 1)) AND (NOT (b = 2)))"),
    ("NOT NOT a", "(NOT (NOT a))"),
    ("not (a = 1 and b = 2)", "(NOT ((a = 1) AND (b = 2)))"),
    ("a + 2 * 3 - 4 > b % 5 / 6", "(((a + (2 * 3)) - 4) > ((b % 5) / 6))"),
    ("(a + 2) * 3 >= -b", "(((a + 2) * 3) >= (NEGATIVE b))"),
    ("a = -1 and b = --2 and c = - 3.5", "((a = -1) AND (b = 2) AND (c = -3.5))"),
    ("a IN ['x', 2, -3, 4.5, true, FALSE, null, undefined]",
     "(a IN ['x', 2, -3, 4.5, True, False, None, <Undefined.UNDEFINED: 'undefined'>])"),
    ("a nin []", "(a NIN [])"),
    ("NOT a IN [1]", "(NOT (a IN [1]))"),
    ("a = null AND b = undefined AND c = true", "((a = None) AND (b = undefined) AND (c = True))"),
    ("is_defined(properties.reported.[[a-b c]].$version)", "IS_DEFINED(properties.reported.a-b c.$version)"),
    ("Substring(a, 1) = LOWER('X')", "(SUBSTRING(a, 1) = LOWER('X'))"),
    ("nothing()", "NOTHING()"),
    ("tags.[[group]].[[WHERE]] = 1", "(tags.group.WHERE = 1)"),
    ("[[group]] = [[ ]]", "(group =  )"),
    ("configurations.[[it's+a%name*]].status = 'Applied'", "(configurations.it's+a%name*.status = 'Applied')"),
    ("tags . a\n.\tb = 1", "(tags.a.b = 1)"),
    ("$metadata.$lastUpdated > '2026'", "($metadata.$lastUpdated > '2026')"),
    ("müller.ñ = 'é'", "(müller.ñ = 'é')"),
    ("a = /* what * it / is */ 1", "(a = 1)"),
    ("a = 0x1F and b = 0xffffffffffffffff", "((a = 31) AND (b = 1.8446744073709552e+19))"),
    ("a = 1.5e3 or b = .5 or c = 2. or d = 9223372036854775807",
     "((a = 1500.0) OR (b = 0.5) OR (c = 2.0) OR (d = 9223372036854775807))"),
    ("a = 9223372036854775808", "(a = 9.223372036854776e+18)"),
    ("a = '' and b = \"\"", "((a = '') AND (b = ''))"),
    (r"""a = 'it''s' and b = 'it\'s' and c = "it's" """,
     """((a = "it's") AND (b = "it's") AND (c = "it's"))"""),
    ("a = \"say \"\"x\"\"\" and b = 'say \"\"x' ", """((a = 'say "x"') AND (b = 'say ""x'))"""),
    (r"a = '\\\u00e9\ud83d\ude00\"'", "(a = '\\\\é😀\"')"),
    ("a = 'two\nlines'", "(a = 'two\\nlines')"),
    ("a", "a"),
    ("'abc'", "'abc'"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "meant"), CONDITIONS, ids=range(len(CONDITIONS)))
def test_conditions(text, meant):
    """Operators group as the language says, and each constant means what it says."""
    assert said(parse_condition(text)) == meant


def test_a_statement():
    """Each clause is read, whatever its capitals."""
    text = (
        "select TOP 5 deviceId, tags.[[a b]] as [[x y]], Count() AS n, avg(tags.q) as m From devices.Modules "
    )
    read = parse_statement(f"{text} WHERE tags.a = 1 group by tags.[[a b]]")
    assert read.top == 5
    assert [(str(item.path or ""), item.aggregate, item.alias) for item in read.items] == [
        ("deviceId", None, None),
        ("tags.a b", None, "x y"),
        ("", "COUNT", "n"),
        ("tags.q", "AVG", "m"),
    ]
    assert (str(read.source), said(read.where), str(read.group)) == (
        "devices.Modules",
        "(tags.a = 1)",
        "tags.a b",
    )


def test_the_least_statement():
    """All but SELECT and FROM may be left out; a query may have lines."""
    read = parse_statement("SELECT *\n  FROM devices\n")
    assert (read.items, read.where, read.group, read.top) == (None, None, None, None)


def test_the_target_of_modules():
    """FROM devices.modules, with a condition or without."""
    assert parse_target("from devices.modules")[1] is None
    source, where = parse_target("FROM devices.modules WHERE moduleId = 'm'")
    assert (str(source), said(where)) == ("devices.modules", "(moduleId = 'm')")


FAULTS = [
    # a query, the column of its fault (or line and column), and a word of what is said
    ("", 1, "SELECT could"),
    ("   ", 1, "too early"),
    ("SELEC nope", 1, "'SELEC' cannot stand here; SELECT could"),
    ("SELECT", 7, "too early"),
    ("SELECT FROM devices", 8, "SELECT \\* takes all"),
    ("SELECT * devices", 10, "FROM could"),
    ("SELECT *, deviceId FROM devices", 9, "FROM could"),
    ("SELECT deviceId, FROM devices", 18, "after the last ','"),
    ("SELECT deviceId AS FROM devices", 20, r"written \[\[FROM\]\]"),
    ("SELECT 5 FROM devices", 8, "cannot stand here"),
    ("SELECT LOWER(tags.a) AS a FROM devices", 8, "no aggregate"),
    ("SELECT COUNT(*) AS n FROM devices", 8, "nothing between its brackets"),
    ("SELECT COUNT(tags.a) AS n FROM devices", 8, "nothing between its brackets"),
    ("SELECT AVG() AS n FROM devices", 8, "one property"),
    ("SELECT TOP x * FROM devices", 12, "a number could"),
    ("SELECT TOP 0 * FROM devices", 12, "whole number from 1"),
    ("SELECT TOP 1.5 * FROM devices", 12, "whole number from 1"),
    ("SELECT TOP 99999999999 * FROM devices", 12, "whole number from 1"),
    ("SELECT TOP 0x5 * FROM devices", 12, "a number could"),
    ("SELECT DISTINCT tags.a FROM devices", 17, "no DISTINCT"),
    ("SELECT * FROM devices ORDER BY deviceId", 23, "no ORDER BY"),
    ("SELECT * FROM devices LIMIT 5", 23, "TOP n"),
    ("SELECT * FROM devices d JOIN d.modules", 23, "cannot stand here"),
    ("SELECT * FROM devices;", 22, "';' has no meaning"),
    ("SELECT * FROM devices WHERE", 28, "too early: a value could follow"),
    ("SELECT * FROM devices WHERE tags.a = ", 37, "a value could follow"),
    ("SELECT * FROM devices WHERE tags.a == 1", 37, "one '='"),
    ("SELECT * FROM devices WHERE tags.a ! = 1", 36, "'!' has no meaning"),
    ("SELECT * FROM devices WHERE tags.a = 1 = 2", 40, "cannot stand here"),
    ("SELECT * FROM devices WHERE tags.a && 1", 36, "'&' has no meaning"),
    ("SELECT * FROM devices WHERE tags.a LIKE 'x%'", 36, "no LIKE"),
    ("SELECT * FROM devices WHERE tags.a BETWEEN 1 AND 2", 36, "no BETWEEN"),
    ("SELECT * FROM devices WHERE tags.a IS NULL", 36, "IS_NULL"),
    ("SELECT * FROM devices WHERE tags.a IN ('x')", 39, "square brackets"),
    ("SELECT * FROM devices WHERE tags.a IN 'x'", 39, "could"),
    ("SELECT * FROM devices WHERE tags.a IN [tags.b]", 40, "a constant"),
    ("SELECT * FROM devices WHERE tags.a IN ['x'", 43, "too early"),
    ("SELECT * FROM devices WHERE tags.a NOT IN ['x']", 36, "NIN"),
    ("SELECT * FROM devices WHERE tags.group = 'x'", 34, r"\[\[group\]\]"),
    ("SELECT * FROM devices WHERE tags.5th = 'x'", 33, r"double brackets: \[\[1a\]\]"),
    ("SELECT * FROM devices WHERE tags.a[0] = 'x'", 35, "element of an array"),
    ("SELECT * FROM devices WHERE tags.[a] = 'x'", 34, "square brackets"),
    ("SELECT * FROM devices WHERE tags.[[]] = 'x'", 34, "cannot stand here|square brackets"),
    ("SELECT * FROM devices WHERE tags.a = 'x", 38, "no closing quote"),
    ('SELECT * FROM devices WHERE tags.a = "x', 38, "no closing quote"),
    (r"SELECT * FROM devices WHERE tags.a = 'x\y'", 38, "backslash"),
    (r"SELECT * FROM devices WHERE tags.a = '\u12'", 38, "backslash"),
    (r"SELECT * FROM devices WHERE tags.a = '\ud800'", 38, "half a surrogate"),
    ("SELECT * FROM devices WHERE tags.a = '\ud800'", 39, "half a surrogate"),
    ("SELECT * FROM devices WHERE (tags.a = 1", 40, "'\\(' is not closed"),
    ("SELECT * FROM devices WHERE tags.a = 1)", 39, "still open"),
    ("SELECT * FROM devices WHERE tags.a = 1e999", 38, "out of range"),
    ("SELECT * FROM devices WHERE tags.a = 1 /* x", 41, "comment is not closed"),
    ("SELECT * FROM devices WHERE tags.a = 1 GROUP", 45, "BY could"),
    ("SELECT COUNT() AS n FROM devices GROUP BY tags.a, tags.b", 51, "one property"),
    ("SELECT *\nFROM devices\nWHERE tags.a ==\n 1", (3, 15), "one '='"),
    ("SELECT *\r\nFROM devices\r\nWHERE", (3, 6), "too early"),
    ("S" * (MAX_LENGTH + 1), MAX_LENGTH + 1, f"at most {MAX_LENGTH}"),
    ("SELECT * FROM devices WHERE " + "NOT " * MAX_DEPTH + "a", 29, "nested deeper"),
    ("SELECT * FROM devices WHERE a" + " + 1" * (MAX_DEPTH + 1) + " = 1", 29, "nested deeper"),
    ("SELECT * FROM devices WHERE " + "(" * 8000, 8029, "too early"),
    ("SELECT * FROM devices WHERE a" + "." * 8000, 31, "cannot stand here"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "where", "word"), FAULTS, ids=range(len(FAULTS)))
def test_faults(text, where, word):
    """400004 with line and column of the fault, and what to write instead."""
    with pytest.raises(QueryError, match=word) as caught:
        parse_statement(text)
    place = where if isinstance(where, tuple) else (1, where)
    assert (caught.value.line, caught.value.column) == place, caught.value.message
    assert (caught.value.status, caught.value.code, caught.value.name) == (400, 400004, "ArgumentInvalid")
    assert f"line {place[0]}, column {place[1]}" in caught.value.message
    assert len(caught.value.message) < 400


def test_many_brackets_and_many_conditions():
    """Brackets around one thing are no depth, and a thousand conditions side by side are none either."""
    assert said(parse_condition("(" * 3000 + "a = 1" + ")" * 3000)) == "(a = 1)"
    many = " OR ".join(f"a={number}" for number in range(900))
    assert len(parse_condition(many).operands) == 900
    assert parse_condition(" AND ".join("(" + "a=1" + ")" for _ in range(700))).depth == 3


@pytest.mark.parametrize("text", ["SELECT TOP 5 * FROM devices", "a=1", ""])
def test_a_condition_is_no_statement(text):
    """What may follow WHERE is not a whole query, nor the other way round."""
    with pytest.raises(QueryError):
        (parse_condition if text.startswith("S") or not text else parse_statement)(text)
