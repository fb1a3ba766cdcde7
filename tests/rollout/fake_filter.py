"""A small ModuleFilterCar: the module's side of the contract on the vendor's SDK, connected to the hub itself.

It stands in for the real module where a test wants many edges, or faults that the real one has not. Its model runs in
this process; what the real one tries in a process of its own, a test tells it with `crash_on`.
"""

import contextlib
import hashlib
import json
import threading
import uuid
from datetime import UTC, datetime

from azure.core.exceptions import AzureError
from azure.iot.device import IoTHubModuleClient, Message, MethodResponse
from azure.storage.blob import BlobClient

from iotedge_lab.car.predictor import Predictor
from iotedge_lab.car.rows import CarRow
from iotedge_lab.errors import LabError

MODULE = "ModuleFilterCar"
SLOTS = ("model", "challenger")
BUNDLED = "0"


def row(seconds, rpm=2000.0, speed=20.0):
    return CarRow("2026-03-02 08:00:00", seconds, 0.0, 0.0, 0.0, speed, 0.0, 10.0, rpm, 0.0, 0.0)


class FakeFilter:
    """One edge. `requests` and `answers` keep what went over the wire; `ask_again` is the pause before it asks anew."""

    def __init__(self, lab, device, *, crash_on=(), ask_again=1.0, files=None, answers_methods=True):
        self.device = device
        self.crash_on = set(crash_on)
        self.files = files if files is not None else {}  # sha256 to content: the module's disk
        self.requests, self.answers, self.sent = [], [], 0
        self._ask_again = ask_again
        self._lock = threading.RLock()
        self._wanted = dict.fromkeys(SLOTS)
        self._running = dict.fromkeys(SLOTS)  # slot to (told, Predictor)
        self._asking = {}
        self._closed = threading.Event()
        self._client = IoTHubModuleClient.create_from_connection_string(
            lab.device_connection_string(device, MODULE), connection_retry_interval=1
        )
        self._client.on_twin_desired_properties_patch_received = self._patched
        if answers_methods:
            self._client.on_method_request_received = self._called
        self._client.connect()
        desired = self._client.get_twin()["desired"]
        self._patched({name: desired.get(name) for name in SLOTS})

    # -- the twin --------------------------------------------------------------------------------------

    def _patched(self, patch):
        with self._lock:
            for slot in SLOTS:
                if slot in patch:
                    self._want(slot, patch[slot])

    def _want(self, slot, told):
        self._wanted[slot] = told
        self._stop_asking(slot)
        running = self._running[slot]
        if told is None:
            self._running[slot] = None
            self._report({slot: None, "pending": None})
        elif running is not None and running[0]["sha256"] == told["sha256"]:
            self._report({"pending": None})
        elif told["sha256"] in self.files:
            self._try(slot, told, self.files[told["sha256"]])
        else:
            self._report({"pending": {"version": told["version"], "status": "asking", "reason": ""}})
            self._ask(slot, told)

    def _ask(self, slot, told):
        if self._closed.is_set() or self._wanted[slot] != told:
            return
        body = {key: told[key] for key in ("name", "version", "sha256", "blob")}
        self.requests.append(body)
        self._send(body, messageType="modelRequest")
        timer = threading.Timer(self._ask_again, self._ask, (slot, told))
        timer.daemon = True
        self._asking[slot] = timer
        timer.start()

    def _stop_asking(self, slot):
        timer = self._asking.pop(slot, None)
        if timer is not None:
            timer.cancel()

    def _report(self, reported):
        if not self._closed.is_set():
            self._client.patch_twin_reported_properties(reported)

    # -- fetchModel ------------------------------------------------------------------------------------

    def _called(self, request):
        payload = request.payload
        with self._lock:
            slots = [slot for slot in SLOTS if _matches(self._wanted[slot], payload)]
        status = 202 if slots else 409
        if request.name != "fetchModel":
            status = 404
        self.answers.append(status)
        self._client.send_method_response(MethodResponse(request.request_id, status, {}))
        if status == 202:
            threading.Thread(target=self._fetch, args=(slots, payload), daemon=True).start()

    def _fetch(self, slots, payload):
        try:
            with BlobClient.from_blob_url(payload["url"]) as blob:
                content = blob.download_blob().readall()
        except AzureError as error:
            self.answers.append(str(error))
            return
        with self._lock:
            for slot in slots:
                told = self._wanted[slot]
                if _matches(told, payload):
                    self._try(slot, told, content)

    def _try(self, slot, told, content):
        self._stop_asking(slot)
        why = None
        if len(content) != told["size"]:
            why = f"it has {len(content)} bytes, not {told['size']}"
        elif hashlib.sha256(content).hexdigest() != told["sha256"]:
            why = "its SHA-256 is another"
        elif told["version"] in self.crash_on:
            why = "the process that tried it ended with -11"
        else:
            try:
                predictor = Predictor(content)
                predictor.predict(row(0.0))
            except LabError as error:
                why = str(error)
        if why is not None:
            self._report({"pending": {"version": told["version"], "status": "refused", "reason": why}})
            return
        self.files[told["sha256"]] = content
        self._running[slot] = (told, predictor)
        since = datetime.now(UTC).isoformat()
        shown = {key: told[key] for key in ("name", "version", "sha256")} | {
            "status": "serving",
            "since": since,
        }
        self._report({slot: shown, "pending": None})

    # -- rows ------------------------------------------------------------------------------------------

    def drive(self, rows, drive="d"):
        """Predict each row and send what came of it, as the module does."""
        for one in rows:
            with self._lock:
                serving, beside = self._running["model"], self._running["challenger"]
                body = self._predicted(one, drive, serving, beside)
            self._send(body, messageType="prediction", modelVersion=body["modelVersion"], driveId=drive)
            self.sent += 1

    def _predicted(self, one, drive, serving, beside):
        version, speed = BUNDLED, 0.0
        if serving is not None:
            version, speed = serving[0]["version"], serving[1].predict(one, drive).speed
        body = {
            "driveId": drive, "time": one.time, "seconds": one.seconds, "predicted": speed, "actual": one.speed,
            "error": speed - one.speed, "low": None, "high": None, "warmup": False, "modelVersion": version,
        }  # fmt: skip
        if beside is not None:
            other = beside[1].predict(one, drive).speed
            body["challenger"] = {
                "modelVersion": beside[0]["version"], "predicted": other, "error": other - one.speed
            }  # fmt: skip
        return body

    def _send(self, body, **properties):
        message = Message(json.dumps(body), content_encoding="utf-8", content_type="application/json")
        message.message_id = str(uuid.uuid4())
        message.custom_properties = properties
        with contextlib.suppress(Exception) if self._closed.is_set() else contextlib.nullcontext():
            self._client.send_message(message)

    # -- life ------------------------------------------------------------------------------------------

    @property
    def serving(self):
        """The version that answers."""
        with self._lock:
            running = self._running["model"]
            return BUNDLED if running is None else running[0]["version"]

    def close(self):
        with self._lock:
            if self._closed.is_set():
                return
            self._closed.set()
            for slot in SLOTS:
                self._stop_asking(slot)
        self._client.shutdown()


class Traffic:
    """Edges that drive without end, each on a thread of its own: the rows of a car that goes at `speed(rpm)`."""

    def __init__(self, edges, *, speed=0.01, step=1.0, pause=0.002):
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._run, args=(edge, speed, step, pause), daemon=True) for edge in edges
        ]

    def _run(self, edge, speed, step, pause):
        number = 0
        while not self._stop.wait(pause):
            rpm = 1000.0 + 137.0 * (number % 17)
            edge.drive([row(number * step, rpm, speed * rpm)], f"{edge.device}-drive")
            number += 1

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        for thread in self._threads:
            thread.join(30)


def _matches(told, payload):
    return told is not None and all(told[key] == payload.get(key) for key in ("name", "version", "sha256"))
