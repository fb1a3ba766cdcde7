"""Messages, rows and batches for tests that need no hub."""

import json

from hub_clients import RawDevice

from iotedge_lab.car.rows import CarRow
from iotedge_lab.lake.messages import Message
from iotedge_lab.lake.reading import Lake
from iotedge_lab.lake.sorting import sort
from iotedge_lab.lake.tables import Batch, application_id

ROW = CarRow("2026-03-02 08:00:00.100000", 0.1, 30.27, -97.74, 0.25, 31.4, -2.5, 17.0, 1430.0, 0.01, -0.02)
LOG = "log@1"


def message(
    body="", *, partition=1, sequence=0, enqueued=1_772_438_400_000, device="d", module=None, message_type=None,
    message_id=None, content_type="", content_encoding="", properties=None, source="telemetry",
):  # fmt: skip
    """A message; what is not given is as plain as can be."""
    return Message(
        partition,
        sequence,
        enqueued,
        device,
        module,
        message_type,
        message_id,
        content_type,
        content_encoding,
        properties or {},
        body if isinstance(body, bytes) else body.encode(),
        source,
    )


def batch(first, last, *, partition=1, log=LOG, device="d", rejected=lambda _: False):
    """The messages of one partition from `first` to `last`, as the engine would gather them."""
    made = Batch()
    for sequence in range(first, last + 1):
        body = "bad" if rejected(sequence) else ROW.to_csv_line()
        table, row = sort(message(body, partition=partition, sequence=sequence, device=device), log)
        made.add(application_id(log, partition), sequence, table, row)
    return made


def send(lab, device, *bodies, module=None, **properties):
    """Send these bodies, with these application properties; all are acknowledged when it returns."""
    with RawDevice(lab, device, module) as raw:
        named = "&".join(f"{name}={value}" for name, value in properties.items())
        raw.send(*bodies, topic=raw.topic + named)


def lake_of(capture):
    """What a capture writes, to read."""
    return Lake(capture.lake)


def keys(frame):
    """The keys of a frame's rows: log, partition, sequence."""
    return list(zip(frame["log"], frame["partition"], frame["sequence"], strict=True))


def text(value):
    """A message's body."""
    return json.dumps(value).encode()
