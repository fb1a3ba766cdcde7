"""Predictions as a listener reads them, made by hand."""

from datetime import UTC, datetime, timedelta

from iotedge_lab.rollout.messages import Beside, Prediction, Sender

BEGIN = datetime(2026, 3, 2, 8, tzinfo=UTC)


def prediction(
    seconds, error, *, beside=None, version="1", other="2", device="edge", drive="d", warmup=False
):
    """A row at 30 mph that is `error` mph off; `beside`: how far off the challenger is."""
    return Prediction(
        sender=Sender(device, "ModuleFilterCar"),
        enqueued=BEGIN + timedelta(seconds=seconds),
        drive=drive,
        time=f"t{seconds}",
        seconds=seconds,
        predicted=30.0 + error,
        actual=30.0,
        version=version,
        warmup=warmup,
        beside=None if beside is None else Beside(other, 30.0 + beside, abs(beside)),
    )
