"""The registry at a plain MLflow server, which MLFLOW_TRACKING_URI names: the same calls, the same answers."""

import os
import subprocess
import sys
import time
import traceback
import urllib.error
import urllib.request

import pytest
from onnx_models import made

from iotedge_lab.registry.registry import Registry
from iotedge_lab.registry.tracking import RegistryProblem
from iotedge_lab.registry.version import CHALLENGER, Lineage

pytest.importorskip("flask", reason="mlflow-skinny's server needs flask")
pytest.importorskip("flask_cors", reason="mlflow-skinny's server needs flask-cors")


@pytest.fixture(scope="module")
def server(tmp_path_factory, free_port):
    """The address of a server with a database and a store of artefacts of its own."""
    folder = tmp_path_factory.mktemp("server")
    command = [
        sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(free_port),
        "--workers", "1",
        "--backend-store-uri", f"sqlite:///{folder / 'server.db'}",
        "--artifacts-destination", str(folder / "artefacts"),
    ]  # fmt: skip
    settings = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW")}
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            command, env=kept | settings, cwd=folder, stdout=log, stderr=log, start_new_session=True
        )
    address = f"http://127.0.0.1:{free_port}"
    try:
        _wait_for(f"{address}/health", process, folder / "log")
        yield address
    finally:
        process.terminate()  # uvicorn's parent ends its workers
        process.wait(30)


def _wait_for(url, process, log):
    end = time.monotonic() + 60
    while True:
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:
                assert answer.read() == b"OK"
            return
        except (urllib.error.URLError, OSError):
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < end, log.read_text()
            time.sleep(0.1)


def test_the_whole_way_on_a_server(server, tmp_path, monkeypatch, capfd):
    """Named by the variable: registered, read, marked, promoted, rejected, downloaded; nothing lies in the folder."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server)
    registry = Registry.open(tmp_path / "unused")
    assert registry.uri == server
    first = registry.register("car-speed", made(1.0), lineage=Lineage("s3://lake/telemetry", 4, "", "c0ffee"))
    second = registry.mark(registry.register("car-speed", made(2.0)), CHALLENGER)
    assert first.lineage == Lineage("s3://lake/telemetry", 4, "d" * 64, "c0ffee")
    assert [registry.content(each) for each in (first, second)] == [made(1.0), made(2.0)]
    assert len(registry.signature(first).inputs) == 24
    registry.promote(first)
    assert registry.champion("car-speed").version == "1"
    assert registry.reject(registry.challenger("car-speed"), "worse").reason == "worse"
    assert registry.challenger("car-speed") is None
    assert [each.fate for each in registry.versions("car-speed")] == ["promoted", "rejected"]
    assert registry.find("other", "champion") is None
    assert not (tmp_path / "unused").exists()
    assert capfd.readouterr() == ("", "")


def test_a_server_that_is_not_there(tmp_path, monkeypatch, free_port_of_nobody):
    """It is named in the error, in seconds."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    registry = Registry.open(tmp_path, f"http://user:secret@127.0.0.1:{free_port_of_nobody}")
    with pytest.raises(RegistryProblem, match="Is the server up") as caught:
        registry.register("car-speed", made())
    assert "secret" not in "".join(traceback.format_exception(caught.value))
