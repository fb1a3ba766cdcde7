"""A module of an edge device downloads a blob, with the environment that the runtime gives it and no more."""

import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta

from azure.storage.blob import generate_blob_sas

from iotedge_lab.clock import SystemClock
from iotedge_lab.edge.runtime.device import EdgeDevice
from iotedge_lab.edge.runtime.settings import EdgeSettings
from iotedge_lab.serve.certificates import Authority

PROGRAM = """
import sys
from azure.storage.blob import BlobClient
with BlobClient.from_blob_url(sys.argv[1], retry_total=0) as blob:
    sys.stdout.buffer.write(blob.download_blob().readall())
"""


def edge(lab, folder, ca_file):
    string = "HostName=localhost;DeviceId=e;SharedAccessKey=a2V5"
    authority = Authority.open(lab.state_dir / "certificates", SystemClock())
    return EdgeDevice(EdgeSettings(string, ca_file=ca_file), folder, authority, SystemClock())


def test_a_module_trusts_the_labs_storage(lab, container, key, tmp_path):
    """By two variables, where the hub is the lab's; on a hub on Azure the runtime sets none."""
    trust = edge(lab, tmp_path, lab.ca_file)._trust()
    assert set(trust) == {"SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"}
    assert edge(lab, tmp_path, None)._trust() == {}
    blob = container.upload_blob("model.onnx", b"a model")
    expiry = datetime.now(UTC) + timedelta(minutes=5)
    sas = generate_blob_sas(
        "iotedgelab", container.container_name, blob.blob_name, account_key=key, permission="r", expiry=expiry
    )
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), **trust}
    found = subprocess.run(
        [sys.executable, "-c", PROGRAM, f"{blob.url}?{sas}"],
        env=environment,
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert (found.returncode, found.stdout) == (0, b"a model"), found.stderr
