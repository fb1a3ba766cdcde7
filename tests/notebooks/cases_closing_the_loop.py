"""Answers to notebook 07's exercises, and what the checks say of each."""

import math
import random
from types import SimpleNamespace

import duckdb
import numpy as np
import pandas as pd

from iotedge_lab.errors import UsageError
from iotedge_lab.show.exercises.closing_the_loop import check_alarm, check_by_device, check_canaries
from iotedge_lab.show.exercises.verdict import Word

PREDICTIONS = pd.DataFrame(
    {
        "device": ["car-1"] * 4 + ["car-2"] * 4,
        "error": [1.0, -1.0, 4.0, -4.0, 0.5, -0.5, 3.5, -2.5],
    }
)


def _sql(query, *, versions):
    assert versions == {"predictions": 7}  # rows arrive all the time, and all is asked of one version
    with duckdb.connect(":memory:") as connection:
        connection.register("predictions", PREDICTIONS)
        try:
            return connection.sql(query).to_arrow_table().to_pandas()  # as the lake does
        except duckdb.Error as error:
            raise UsageError(f"DuckDB refuses the query: {error}") from error


def _none(table):
    raise UsageError(f"there is no table {table}")


LAKE = (SimpleNamespace(sql=_sql, version=lambda table: 7),)
EMPTY = (SimpleNamespace(version=_none),)
FOREIGN = "SELECT device || 'x' AS device, 1.0 AS error FROM predictions GROUP BY 1"
RIGHT = "SELECT device, avg(abs(error)) AS error FROM predictions GROUP BY device"


def _alarm(errors, usual):
    last = errors[-12:]
    return len(last) == 12 and sum(last) / 12 > 1.5 * usual


def _of_all(errors, usual):
    return bool(errors) and sum(errors) / len(errors) > 1.5 * usual


def _of_one(errors, usual):
    return bool(errors) and max(errors) > 1.5 * usual


def _fixed(errors, _):
    return len(errors) > 11 and sum(errors[-12:]) / 12 > 3.0


def _of_twelve(holds):
    return lambda errors, usual: len(errors) > 11 and holds(errors[-12:], 1.5 * usual)


def _clearing(errors, usual):
    said = _alarm(errors, usual)
    errors.clear()
    return said


def _popping(fleet, share):
    return [fleet.pop(0) for _ in range(max(1, math.ceil(share * len(fleet))))]


def _stumbling(fleet, _):
    yield from (car.name for car in fleet)


def _drawn(fleet, share):
    return random.sample(fleet, math.ceil(share * len(fleet)))


def _canaries(fleet, share):
    return sorted(fleet)[: max(1, math.ceil(share * len(fleet)))]


CASES = [
    (check_by_device, LAKE, RIGHT, Word.OK, "Spark cluster"),
    (check_by_device, EMPTY, RIGHT, Word.NOT_YET, "in a few seconds"),
    (check_by_device, LAKE, RIGHT.replace("avg(abs(error))", "round(avg(abs(error)), 1)"), Word.OK, "Spark cluster"),
    (check_by_device, LAKE, ..., Word.NOT_YET, "write the query"),
    (check_by_device, LAKE, "...", Word.NOT_YET, "write the query"),
    (check_by_device, LAKE, 3, Word.WRONG, "a query is a text"),
    (check_by_device, LAKE, "SELEC", Word.WRONG, "DuckDB cannot run it"),
    (check_by_device, LAKE, RIGHT.replace("AS error", "AS mae"), Word.WRONG, "call them device and error"),
    (check_by_device, LAKE, RIGHT.replace("abs(error)", "error"), Word.WRONG, "cancel each other out"),
    (check_by_device, LAKE, RIGHT.replace("avg(abs(error))", "abs(avg(error))"), Word.WRONG, "before avg"),
    (check_by_device, LAKE, RIGHT.replace("avg", "max"), Word.WRONG, "off by up to"),
    (check_by_device, LAKE, RIGHT + ";", Word.OK, "Spark cluster"),
    (check_by_device, LAKE, RIGHT.lower() + " order by error desc", Word.OK, "Spark cluster"),
    (check_by_device, LAKE, RIGHT.replace("AS error", "AS error, count(*) AS rows"), Word.OK, "Spark cluster"),
    (check_by_device, LAKE, "SELECT ... FROM predictions ...", Word.NOT_YET, "write the query"),
    (check_by_device, LAKE, PREDICTIONS, Word.WRONG, "of type DataFrame"),
    (check_by_device, LAKE, RIGHT.replace("avg(abs(error))", "sqrt(avg(error ** 2))"), Word.WRONG, "RMSE"),
    (check_by_device, LAKE, RIGHT.replace("avg", "median"), Word.WRONG, "the median; the mean is avg"),
    (check_by_device, LAKE, RIGHT.replace("avg", "sum"), Word.WRONG, "the sum; the mean is avg"),
    (check_by_device, LAKE, RIGHT.replace("AS", "* 1.609 AS"), Word.WRONG, "kilometres an hour"),
    (check_by_device, LAKE, RIGHT.replace("AS", "|| ' mph' AS"), Word.WRONG, "a number is wanted, in mph"),
    (check_by_device, LAKE, RIGHT.replace("avg(abs(error))", "NULL"), Word.WRONG, "a number is wanted, in mph"),
    (check_by_device, LAKE, RIGHT.replace("SELECT", "SELECT device,"), Word.WRONG, "two columns are called device"),
    (check_by_device, LAKE, "SELECT 1 AS device, 2 AS error UNION SELECT 2, 3", Word.WRONG, "has ['1', '2']"),
    (check_by_device, LAKE, RIGHT.replace("GROUP", "WHERE device = 'car-1' GROUP"), Word.WRONG, "has 1 row, and 2"),
    (check_by_device, LAKE, "SELECT 'x' AS device, 1.0 AS error", Word.WRONG, "GROUP BY device"),
    (check_by_device, LAKE, FOREIGN, Word.WRONG, "the devices are"),
    (check_alarm, (), _alarm, Word.OK, "no false alarm"),
    (check_alarm, (), lambda errors, usual: ..., Word.NOT_YET, "gives nothing back"),
    (check_alarm, (), lambda errors, usual: 3, Word.WRONG, "True or False"),
    (check_alarm, (), _of_one, Word.WRONG, "one hard block"),
    (check_alarm, (), _of_all, Word.WRONG, "three blocks are too few"),
    (check_alarm, (), lambda errors, usual: sum(errors[-12:]) / 12 > 1.5 * usual, Word.WRONG, "eleven blocks"),
    (check_alarm, (), lambda errors, usual: len(errors) > 11 and sum(errors[-12:]) / 12 >= 1.5 * usual, Word.WRONG,
     "just half"),
    (check_alarm, (), _fixed, Word.WRONG, "depends on what is usual"),
    (check_alarm, (), _of_twelve(lambda last, much: np.mean(last) > much), Word.OK, "no false alarm"),
    (check_alarm, (), _of_twelve(lambda last, much: sum(last) / 12 > much or None), Word.WRONG, "gave None"),
    (check_alarm, (), _of_twelve(lambda last, much: np.median(last) > much), Word.WRONG, "not how many"),
    (check_alarm, (), _of_twelve(lambda last, much: min(last) > much), Word.WRONG, "not how many"),
    (check_alarm, (), _of_twelve(lambda last, much: last[-1] > much), Word.WRONG, "the latest neither"),
    (check_alarm, (), _of_twelve(lambda last, much: sum(last[2:]) / 10 > much), Word.WRONG, "all of the last twelve"),
    (check_alarm, (), _of_twelve(lambda last, much: sum(last[:-1]) / 11 > much), Word.WRONG, "the latest of"),
    (check_alarm, (), lambda errors, usual: len(errors) > 11 and np.mean(errors[-13:]) > 1.5 * usual, Word.WRONG,
     "one too many"),
    (check_alarm, (), lambda errors, usual: int(_alarm(errors, usual)), Word.WRONG, "True or False"),
    (check_alarm, (), _clearing, Word.WRONG, "leave them as they are"),
    (check_canaries, (), _canaries, Word.OK, "a ring"),
    (check_canaries, (), lambda fleet, share: tuple(_canaries(fleet, share)), Word.OK, "a ring"),
    (check_canaries, (), lambda fleet, share: np.array(_canaries(fleet, share)), Word.OK, "a ring"),
    (check_canaries, (), lambda fleet, share: iter(_canaries(fleet, share)), Word.OK, "a ring"),
    (check_canaries, (), lambda fleet, share: fleet[: math.ceil(share * len(fleet))], Word.WRONG, "one at least"),
    (check_canaries, (), lambda fleet, share: fleet[:: int(1 / share)], Word.WRONG, "0.4 of 5 cars are 2"),
    (check_canaries, (), lambda fleet, share: fleet[: round(share * len(fleet))], Word.WRONG, "0.25 of 10 cars are 3"),
    (check_canaries, (), lambda fleet, share: math.ceil(share * len(fleet)), Word.WRONG, "a list of cars"),
    (check_canaries, (), lambda fleet, share: ["car-1"], Word.WRONG, "1 was chosen"),
    (check_canaries, (), _popping, Word.WRONG, "leave it as it is"),
    (check_canaries, (), _stumbling, Word.WRONG, "'str' object has no attribute 'name'"),
    (check_canaries, (), lambda fleet, share: ..., Word.NOT_YET, "gives nothing back"),
    (check_canaries, (), lambda fleet, share: "car-1", Word.WRONG, "a list of cars"),
    (check_canaries, (), lambda fleet, share: ["van"], Word.WRONG, "not in the fleet"),
    (check_canaries, (), lambda fleet, share: fleet[: int(share * len(fleet))], Word.WRONG, "round up"),
    (check_canaries, (), lambda fleet, share: fleet[:1] * 2, Word.WRONG, "twice"),
    (check_canaries, (), _drawn, Word.WRONG, "asked again"),
]  # fmt: skip
