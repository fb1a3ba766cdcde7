"""Charts: marks lie where they belong, equal data make equal pictures, and the alt text says what was found."""

from __future__ import annotations

import base64
import re
import xml.etree.ElementTree as ET

import pytest

from iotedge_lab.errors import DataError, UsageError
from iotedge_lab.show import searching
from iotedge_lab.show.chart import HEIGHT, WIDTH, Axis, Band, Chart, Dots, Line, chart
from iotedge_lab.train.automl import Trial

X, Y = Axis("time (s)", 0, 10), Axis("speed (mph)", 0, 60)


def _tags(drawn: Chart, tag: str) -> list[ET.Element]:
    return [each for each in ET.fromstring(drawn.svg).iter() if each.tag.endswith(tag)]


def _text(drawn: Chart) -> list[str]:
    return ["".join(each.itertext()) for each in _tags(drawn, "text")]


def _points(element: ET.Element) -> list[tuple[float, ...]]:
    return [tuple(map(float, point.split(","))) for point in (element.get("points") or "").split()]


def test_a_line_runs_from_end_to_end_and_up_is_more() -> None:
    """The lowest and the highest value of both axes are the corners of the drawn area."""
    drawn = chart(
        "Line: a speed over time, rising.", X, Y, [Line([(0, 0), (5, 30), (10, 60)], "#fff", "speed")]
    )
    ((left, bottom), middle, (right, top)) = _points(_tags(drawn, "polyline")[0])
    assert 0 < left < right < WIDTH
    assert 0 < top < bottom < HEIGHT
    assert middle == pytest.approx(((left + right) / 2, (top + bottom) / 2))
    assert {"time (s)", "speed (mph)", "0", "10", "20", "60", "speed"} <= set(_text(drawn))


def test_what_lies_beyond_the_axis_is_put_at_its_end() -> None:
    """A first trial that is off by far does not leave the picture."""
    drawn = chart("Dots: two of them, one beyond.", X, Y, [Dots([(3, 60), (3, 600)], "#fff")])
    one, other = _tags(drawn, "circle")
    assert one.attrib == other.attrib


def test_marks_differ_in_shape_and_dashes_not_in_colour_alone() -> None:
    """Each kind of mark has a shape of its own, in the picture and in the legend."""
    marks = [
        Band([(0, 1, 2), (10, 3, 4)], "#fff", "band"),
        Line([(0, 1), (1, 2)], "#fff", "dashed", dashed=True),
        Dots([(1, 1)], "#fff", "square", "square"),
        Dots([(1, 1)], "#fff", "triangle", "triangle"),
    ]
    drawn = chart("Marks: four of them, of four kinds.", X, Y, marks, title="a finding")
    assert len(_tags(drawn, "polygon")) == 3  # the band, the triangle and its sample
    assert len(_tags(drawn, "rect")) == 4  # the ground, the band's sample, the square and its sample
    assert drawn.svg.count("stroke-dasharray") == 2
    assert {"band", "dashed", "square", "triangle", "a finding"} <= set(_text(drawn))


def test_marks_without_points_are_left_out() -> None:
    """No sample stands in the legend for what is not in the picture."""
    drawn = chart("Line: nothing is left of it.", X, Y, [Line([], "#fff", "nothing")])
    assert "nothing" not in _text(drawn)


def test_the_html_is_an_image_with_the_alt_text_and_equal_data_make_equal_text() -> None:
    """A stored notebook can be compared, and a screen reader reads the finding."""
    one, other = (chart("Line: x < y & z, quite so.", X, Y, [Line([(0, 1), (1, 2)], "#fff")]) for _ in "ab")
    assert one == other
    assert repr(one) == "<Chart: Line: x < y & z, quite so.>"
    page = one._repr_html_()
    assert 'alt="Line: x &lt; y &amp; z, quite so."' in page
    data = re.search(r"base64,([A-Za-z0-9+/=]+)", page)
    assert data is not None
    assert base64.b64decode(data[1]).decode() == one.svg


def test_a_chart_without_alt_text_and_an_axis_without_length_are_refused() -> None:
    """Both say what to do."""
    with pytest.raises(UsageError, match="without alt text"):
        chart(" ", X, Y, [])
    with pytest.raises(UsageError, match="from a lower to a higher number"):
        Axis("time (s)", 5, 5)


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (0, 10, [0, 2, 4, 6, 8, 10]),
        (0, 1, [0, 0.2, 0.4, 0.6, 0.8, 1]),
        (12.5, 73, [20, 40, 60]),
        (0, 14.07, [0, 5, 10]),
        (-1, 1, [-1, -0.5, 0, 0.5, 1]),
    ],
)
def test_ticks_are_round_numbers_between_the_ends(low: float, high: float, ticks: list[float]) -> None:
    """At most six steps of 1, 2 or 5 times a power of ten."""
    assert Axis("x", low, high).ticks() == pytest.approx(ticks)


# -- a search -------------------------------------------------------------------------------------------------


def _trials(*losses: tuple[str, float]) -> list[Trial]:
    trials: list[Trial] = []
    for number, (estimator, loss) in enumerate(losses, start=1):
        best = min([loss, *(trial.loss for trial in trials)])
        trials.append(Trial(number, float(number), 10.0, estimator, loss, best, {}))
    return trials


def test_a_search_shows_each_trial_and_the_best_so_far() -> None:
    """A dot a trial in its estimator's shape, and steps that only go down."""
    drawn = searching.chart(_trials(("lgbm", 12), ("extra_tree", 6), ("xgboost", 8), ("lgbm", 4)))
    assert drawn.alt == (
        "Dots: the error of 4 trials over 4.0 seconds of search. The first is off by 12.0 mph, the best, trial 4 by "
        "LightGBM, by 4.00 mph (RMSE)."
    )
    heights = [up for _, up in _points(_tags(drawn, "polyline")[0])]
    assert len(heights) == 7
    assert heights == sorted(heights)  # down is more pixels
    assert {"4 trials, best 4.00 mph", "LightGBM", "extra trees", "XGBoost", "best so far"} <= set(
        _text(drawn)
    )


def test_one_trial_is_enough_and_none_is_too_few() -> None:
    """The first trial is shown at once."""
    assert "1 trial over" in searching.chart(_trials(("lgbm", 12))).alt
    with pytest.raises(DataError, match="no trial has ended yet"):
        searching.chart([])
