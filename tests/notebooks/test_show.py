"""Pictures and tables: the same twice, with alt text that says the finding, clear about missing columns."""

from __future__ import annotations

import base64
import inspect
import io
import re
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

import matplotlib as mpl
import pandas as pd
import pytest
from PIL import Image

from iotedge_lab.car.can.database import load
from iotedge_lab.car.rows import COLUMNS
from iotedge_lab.errors import DataError, UsageError
from iotedge_lab.show import arrivals, code, plots, program, tables
from iotedge_lab.show.picture import Picture, figure, picture

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.fixture
def drive() -> pd.DataFrame:
    """Forty rows under the file's headers: ten standing, then speeding up in one gear."""
    speed = [0.0] * 10 + [float(mph) for mph in range(30)]
    values = {
        "time": "2026-01-01 08:00:00.000000",
        "seconds": [number / 10 for number in range(40)],
        "latitude": [30.2 + number / 1e4 for number in range(40)],
        "longitude": [-97.7 - number / 1e4 for number in range(40)],
        "distance": [number / 100 for number in range(40)],
        "speed": speed,
        "steering_angle": 0.0,
        "throttle_position": 5,
        "engine_rpm": [max(665, round(mph * 54)) for mph in speed],
        "lateral_gs": 0.0,
        "acceleration_gs": 0.1,
    }
    return pd.DataFrame(values).rename(columns={column.name: column.header for column in COLUMNS})


PLOTS = [
    (plots.speed_over_time, ["40 rows over 4 seconds", "the highest 29 mph", "28% of the rows"]),
    (plots.rpm_over_speed, ["40 rows", "up to 1566 revolutions", "about 665 a minute"]),
    (plots.route_map, ["0.4 miles", "from 0 to 29 mph"]),
]


@pytest.mark.parametrize(("plot", "words"), PLOTS, ids=[plot.__name__ for plot, _ in PLOTS])
def test_a_plot_says_in_its_alt_text_what_it_shows(
    plot: Callable[[pd.DataFrame], Picture], words: list[str], drive: pd.DataFrame
) -> None:
    """The alt text carries numbers of the data, and the HTML is an image with it and the PNG."""
    made = plot(drive)
    assert [word for word in words if word not in made.alt] == []
    html = made._repr_html_()
    data = re.search(r'base64,([^"]+)"', html)
    assert data is not None
    assert base64.b64decode(data[1]) == made.png
    assert made.alt in html
    width, height = Image.open(io.BytesIO(made.png)).size
    assert 500 <= width <= 800
    assert 250 <= height <= 500


@pytest.mark.parametrize("plot", [plot for plot, _ in PLOTS], ids=lambda plot: plot.__name__)
def test_a_plot_is_the_same_twice_and_leaves_no_setting_behind(
    plot: Callable[[pd.DataFrame], Picture], drive: pd.DataFrame
) -> None:
    """Two pictures of the same rows have equal bytes, and matplotlib's settings stay the user's."""
    before = dict(mpl.rcParams)
    assert plot(drive) == plot(drive)
    assert dict(mpl.rcParams) == before


@pytest.mark.parametrize("plot", [plot for plot, _ in PLOTS], ids=lambda plot: plot.__name__)
def test_a_plot_takes_a_messages_names_and_stays_small(
    plot: Callable[[pd.DataFrame], Picture], drive: pd.DataFrame
) -> None:
    """Rows that came back as messages carry short names; the picture is the same, and under 60 KB."""
    short = drive.rename(columns={column.header: column.name for column in COLUMNS})
    assert plot(short) == plot(drive)
    assert len(plot(drive).png) < 60_000


@pytest.mark.parametrize("plot", [plot for plot, _ in PLOTS], ids=lambda plot: plot.__name__)
def test_a_plot_names_the_columns_that_are_missing(
    plot: Callable[[pd.DataFrame], Picture], drive: pd.DataFrame
) -> None:
    """A frame without speed, and one without rows, are refused with what to do."""
    with pytest.raises(DataError, match=r"\['speed'\]; read the file with"):
        plot(drive.drop(columns="Speed (MPH)"))
    with pytest.raises(DataError, match="no rows"):
        plot(drive.head(0))


def test_both_axes_carry_units(drive: pd.DataFrame, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each axis of each plot is labelled with a unit in brackets."""
    labels: list[str] = []

    def look(drawn: mpl.figure.Figure, alt: str) -> Picture:
        axes = drawn.axes[0]
        labels.extend((axes.get_xlabel(), axes.get_ylabel()))
        return picture(drawn, alt)

    monkeypatch.setattr(plots, "picture", look)
    for plot, _ in PLOTS:
        plot(drive)
    plots.arrivals(_times(1, 1, 1))
    assert len(labels) == 2 * (len(PLOTS) + 1)
    assert [label for label in labels if not re.search(r"\(.+\)$", label)] == []


def _times(*gaps: float) -> list[datetime]:
    return [
        datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=sum(gaps[:count]))
        for count in range(len(gaps) + 1)
    ]


ARRIVALS = [
    ([0.5] * 5 + [0.1] * 14, "20 messages over time; at the end they come more than twice as fast"),
    ([0.1] * 14 + [0.5] * 5, "more than twice as slowly"),
    ([0.5] * 6, "7 messages over time; they come at an even pace"),
    ([0.0] * 3, "they come at an even pace"),
]


@pytest.mark.parametrize(("gaps", "words"), ARRIVALS, ids=[words for _, words in ARRIVALS])
def test_arrivals_say_how_the_pace_changes(gaps: list[float], words: str) -> None:
    """The alt text compares the last gaps with the first, and the order of the times does not matter."""
    made = plots.arrivals(_times(*gaps))
    assert words in made.alt
    assert plots.arrivals(_times(*gaps)[::-1]) == made
    assert len(made.png) < 60_000


def test_arrivals_of_too_few_messages_are_refused() -> None:
    """Three messages show no change of pace."""
    with pytest.raises(DataError, match="at least 4"):
        plots.arrivals(_times(1, 1))


def test_gear_lines_are_drawn_where_the_ratios_are_known(drive: pd.DataFrame) -> None:
    """With ratios the picture differs, and its alt text counts the lines and the rows that lie on one."""
    guided = plots.rpm_over_speed(drive, rpm_per_mph=(54.0, 41.8))
    assert guided.png != plots.rpm_over_speed(drive).png
    assert "mark 2 gears; 100% of the rows above 12 mph" in guided.alt
    assert "0% of the rows above 12 mph" in plots.rpm_over_speed(drive, rpm_per_mph=(20.0,)).alt
    assert "0% of the rows above 12 mph" in plots.rpm_over_speed(drive.head(10), rpm_per_mph=(54.0,)).alt


def test_a_picture_needs_alt_text_and_escapes_it(tmp_path: Path) -> None:
    """An empty alt text is refused, quotes and brackets in one are escaped, and the PNG can be saved."""
    with figure() as drawn:
        with pytest.raises(UsageError, match="alt text"):
            picture(drawn, " ")
        made = picture(drawn, 'a "b" <c>')
    assert 'alt="a &quot;b&quot; &lt;c&gt;"' in made._repr_html_()
    assert repr(made) == '<Picture: a "b" <c>>'
    made.save(tmp_path / "x.png")
    assert (tmp_path / "x.png").read_bytes() == made.png


def _event(number: int, body: str, **properties: str) -> SimpleNamespace:
    return SimpleNamespace(
        sequence_number=number,
        enqueued_time=datetime(2026, 1, 1, 8, tzinfo=UTC),
        system_properties={b"iothub-connection-device-id": b"car-1"},
        properties={name.encode(): value.encode() for name, value in properties.items()} or None,
        body_as_str=lambda: body,
    )


def test_events_become_a_table_with_a_column_a_property() -> None:
    """Bytes are spelled out as text, and an event without a property has an empty text there."""
    frame = tables.events([_event(0, "{}"), _event(1, "{}", driveId="drive-1", alert="braking")])
    assert list(frame.columns) == ["sequence number", "enqueued", "device", "driveId", "alert"]
    assert frame["device"].tolist() == ["car-1", "car-1"]
    assert frame["alert"].tolist() == ["", "braking"]


def test_a_property_that_is_asked_for_has_a_column_in_any_case() -> None:
    """Named properties come first and in their order, also when no event carries them."""
    frame = tables.events([_event(0, "{}", driveId="drive-1")], properties=["alert"])
    assert list(frame.columns)[3:] == ["alert", "driveId"]
    assert frame["alert"].tolist() == [""]
    assert list(tables.events([], properties=["alert"]).columns)[3:] == ["alert"]


def test_no_events_make_an_empty_table() -> None:
    """Nothing read is a table of no rows, with its columns."""
    assert list(tables.events([]).columns) == ["sequence number", "enqueued", "device"]
    assert tables.bodies([]).empty


def test_bodies_become_columns_and_a_body_that_is_no_object_is_named() -> None:
    """JSON objects become rows; other bodies are refused with their sequence number."""
    assert tables.bodies([_event(0, '{"speed": 1.5}')]).to_dict("records") == [{"speed": 1.5}]
    with pytest.raises(DataError, match="event 7 is not JSON"):
        tables.bodies([_event(7, "hello")])
    with pytest.raises(DataError, match="event 8 is JSON but no object"):
        tables.bodies([_event(8, "[1]")])


def test_first_rows_count_what_they_leave_out(drive: pd.DataFrame) -> None:
    """The note says how many rows there are, in text and in HTML, and takes words of the caller's."""
    table = tables.first_rows(drive, 3, note="Ten a second.")
    assert repr(table).endswith("\n3 of 40 rows, 11 columns. Ten a second.")
    assert table._repr_html_().count("<tr") == 4
    assert "3 of 40 rows" in table._repr_html_()


def test_an_excerpt_is_the_file_s_own_text() -> None:
    """A method comes at the margin, with its decorators and comments, and as Markdown that is coloured."""
    shown = code.excerpt("EchoModule", "EchoModule.stop", "seconds")
    text = (code.MODULES / "EchoModule" / "main.py").read_text()
    assert repr(shown).startswith('def stop(self, *_: object) -> None:\n    """Have')
    assert "\n\ndef seconds(value: object, what: str) -> float:" in repr(shown)
    assert repr(shown).partition("\n\n")[2] in text
    assert shown._repr_markdown_() == f"```python\n{shown!r}\n```"


def test_an_excerpt_of_a_folder_of_ones_own(tmp_path: Path) -> None:
    """Without names the whole file is shown, and decorators belong to their function."""
    (tmp_path / "main.py").write_text("import a\n\n@a.b\nasync def f():\n    # why\n    pass\n")
    assert repr(code.excerpt(tmp_path)) == (tmp_path / "main.py").read_text().strip()
    assert repr(code.excerpt(tmp_path, "f")).startswith("@a.b\nasync def f():\n    # why")


def test_an_excerpt_of_what_is_not_there_says_what_is(tmp_path: Path) -> None:
    """A module, a file or a name that is not there is answered with those that are."""
    with pytest.raises(UsageError, match=r"the lab has .*EchoModule"):
        code.excerpt("Echo")
    with pytest.raises(UsageError, match=r"there is no main\.py of"):
        code.excerpt(tmp_path)
    with pytest.raises(UsageError, match=r"has no EchoModule\.ru; it has .*EchoModule\.run,"):
        code.excerpt("EchoModule", "EchoModule.ru")


def _arrival(body: bytes, module: str = "") -> SimpleNamespace:
    system = {b"iothub-connection-device-id": b"edge-1", b"iothub-connection-module-id": module.encode()}
    return SimpleNamespace(
        sequence_number=7,
        offset="7",
        enqueued_time=datetime(2026, 1, 1, 8, tzinfo=UTC),
        system_properties=system if module else {b"iothub-connection-device-id": b"car-1"},
        properties=None,
        body=[body[:1], body[1:]],
    )


@pytest.mark.parametrize(
    ("body", "module", "words"),
    [
        (b"hello", "EchoModule", '[edge-1/EchoModule]: "hello"'),
        (b'{"speed": 30}', "", '[car-1]: {"speed": 30}'),
        (b"\x00\xff", "", "[car-1]: AP8= (base64)"),
    ],
)
def test_an_arrival_in_a_line(body: bytes, module: str, words: str) -> None:
    """A line names the sender as the hub wrote it; text is quoted, JSON is as it came, bytes are base64."""
    event = _arrival(body, module)
    assert repr(arrivals.line(event)) == f"Message received from {words}"
    assert f"[{arrivals.sender(event)}]" in words


def test_the_columns_of_a_drive_and_the_messages_of_a_bus(drive: pd.DataFrame) -> None:
    """Each column with its unit and meaning, each message with its identifier, pace and signals."""
    assert repr(tables.columns()).endswith("\n11 columns.")
    assert tables.columns()._repr_html_().count('<td style="text-align:left">') == 44
    assert tables.columns().shown["in a message"].tolist() == [column.name for column in COLUMNS]
    with_values = tables.columns(drive)
    assert repr(with_values).endswith("\n11 columns, 40 rows.")
    assert with_values.shown["first row"].tolist() == [
        str(drive.iloc[0][column.header]) for column in COLUMNS
    ]
    with pytest.raises(DataError, match="no rows"):
        tables.columns(drive.head(0))
    shown = tables.bus(load())
    assert repr(shown).endswith("\n10 messages, 16 signals.")
    assert shown.shown.iloc[0].tolist()[:4] == ["0x0a5", "EngineData", 10, 4]
    assert "EngineSpeed (1/min)" in shown.shown.iloc[0, 4]


def _judge(reading: dict[str, int]) -> dict[str, int] | None:
    return reading if reading["speed"] > 50 else None


def test_a_program_is_made_of_a_function_and_runs(tmp_path: Path) -> None:
    """The file holds the function as it is written and the SDK's part; without an edge it says what is missing."""
    folder = program.write(tmp_path / "new" / "Judge", _judge)
    text = repr(code.excerpt(folder))
    assert inspect.getsource(_judge) in text
    assert "answer = _judge(json.loads(message.data))" in text
    ended = subprocess.run(
        [sys.executable, "main.py"], cwd=folder, capture_output=True, text=True, check=False
    )
    assert "IoT Edge environment not configured correctly" in ended.stderr


async def _later(reading: object) -> object:
    return reading


def _without_source() -> object:
    made: dict[str, object] = {}
    exec("def typed(reading):\n    return reading", made)
    return made["typed"]


@pytest.mark.parametrize(
    "what",
    [len, lambda reading: reading, 5, Path, _later, _without_source()],
    ids=["built-in", "lambda", "value", "class", "coroutine", "no source"],
)
def test_what_is_no_function_of_a_cell_makes_no_program(what: object, tmp_path: Path) -> None:
    """A built-in, a lambda, a value and a class are refused, and nothing is written."""
    with pytest.raises(UsageError, match=r"define it in a cell|written with def"):
        program.write(tmp_path / "x", what)  # type: ignore[arg-type]
    assert not (tmp_path / "x").exists()
