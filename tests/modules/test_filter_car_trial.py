"""A model is tried in a process of its own: what is no good is found out there, and ends nothing else."""

import re
import sys

import pytest
from car_filter import (
    FOLDER,
    another_signature,
    changed,
    crashing,
    endless,
    no_number,
    of_nodes,
    of_sum,
    too_large,
)
from filter_car import trial


def verdict(tmp_path, content, **more):
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    return trial.attempt(path, **more)


@pytest.mark.parametrize("make", [changed, of_sum], ids=["the bundled", "one that looks back"])
def test_a_good_model_passes(tmp_path, make):
    """It predicts a drive's worth of rows; how long a row takes is told."""
    found = verdict(tmp_path, make())
    assert found.reason == ""
    assert 0.0 < found.milliseconds < trial.SLOWEST


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: changed()[:-100], "no model that onnxruntime can run"),
        (lambda: b"\0" * 5000, "no model that onnxruntime can run"),
        (another_signature, "takes {'pixels': 3}"),
        (lambda: changed(lambda proto: proto.ClearField("metadata_props")), "does not say which features"),
        (no_number, "no finite number"),
        (too_large, "it fails on a row: .*[Ff]ailed to allocate"),
        (crashing, r"crashed \(SIGSEGV\)"),
        (lambda: of_nodes([], []), "no model that onnxruntime can run"),
    ],
    ids=["truncated", "zeros", "signature", "no recipe", "no number", "too large", "crash", "empty"],
)
def test_a_bad_model_is_found_out(tmp_path, make, says):
    """Each with its reason; this process lives on."""
    assert re.search(says, verdict(tmp_path, make()).reason)


def test_a_model_without_end(tmp_path):
    """The process is ended after its time."""
    assert (
        verdict(tmp_path, endless(), seconds=2.0).reason == "the process that tried it did not end within 2 s"
    )


@pytest.mark.parametrize(
    ("script", "says"),
    [
        ("import sys; sys.exit(3)", "ended with 3 and without a word"),
        ("print('{}')", "ended with 0 and without a word"),
        ("print('hello')", "ended with 0 and without a word"),
        ("import os; os.abort()", "crashed (SIGABRT)"),
        (
            'print(\'{"ok": true, "milliseconds": 1}\'); import sys; sys.exit(1)',
            "ended with 1 and without a word",
        ),
    ],
)
def test_a_process_that_says_nothing_of_use(script, says):
    """Whatever it does, there is a reason."""
    assert says in trial.attempt(FOLDER / "model.onnx", command=(sys.executable, "-c", script)).reason


def test_no_process_can_be_started(tmp_path):
    """That is a reason, too."""
    assert "could be started" in trial.attempt(tmp_path, command=(str(tmp_path / "none"),)).reason
