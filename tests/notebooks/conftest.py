"""The notebooks and their sources, found once and never empty."""

from __future__ import annotations

import nbformat
import pytest

from notebooks.source.make.source import build, sources

TOY = '''\
# %% [markdown]
# # A toy
#
# One promise.
#
# **You will**
#
# - say a word
# - see a picture
# - solve an exercise
#
# **Before you start**: nothing. 5 minutes. Works offline: yes.

# %%
import datetime
import os

print(datetime.datetime.now().isoformat(), os.environ["IOTEDGE_LAB_STATE"].endswith("lab"))

# %%
import pandas as pd
from iotedge_lab.show import plots

plots.speed_over_time(pd.DataFrame({"Seconds": [0, 1, 2], "Speed (MPH)": [0, 10, 20]}))

# %% [markdown]
# ### Exercise 1: twice
# Double a number.

# %% exercise="double"
from iotedge_lab.show.exercises import Wrong, ask, check


@check
def check_double(double):
    """A check in place, for the toy's sake."""
    if ask(double, 21) != 42:
        raise Wrong("21 twice is 42")
    return "doubled"


def double(number):
    """Twice a number."""
    # >>> solution
    return 2 * number
    # <<< solution


# >>> check
check_double(double)

# %% [markdown]
# **You have now**
#
# - said a word
# - seen a picture
# - solved an exercise
#
# **Next**: [a place](https://example.org/).
'''


@pytest.fixture(scope="session")
def toy_source() -> str:
    return TOY


@pytest.fixture
def toy() -> nbformat.NotebookNode:
    """The toy as if it had been executed: counts, and the outputs that the rules look at."""
    notebook = build(TOY)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    said = {"exercise-check": "Not yet: ...", "exercise-solution": "OK: doubled"}
    for number, cell in enumerate(code, start=1):
        cell.execution_count = number
        tag = (cell.metadata.get("tags") or [""])[0]
        if tag in said:
            cell.outputs = [result(said[tag], number)]
    code[0].outputs = [nbformat.v4.new_output("stream", name="stdout", text="a word\n")]
    image = '<img alt="Line: speed over time, three rows in all." src="data:image/png;base64,AAAA">'
    code[1].outputs = [result("<Picture>", 2, html=image)]
    return notebook


def result(text: str, count: int, html: str = "") -> nbformat.NotebookNode:
    data = {"text/plain": text} | ({"text/html": html} if html else {})
    return nbformat.v4.new_output("execute_result", data=data, execution_count=count)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """`source` runs over all sources of the series; none found is a failure, not an empty pass."""
    if "source" in metafunc.fixturenames:
        found = sources()
        assert found, "no source of a notebook was found"
        metafunc.parametrize("source", found, ids=lambda path: path.stem)
