"""The rules of the cloud-to-device queues, on a clock that stands still: no protocol, no socket."""

import json

import pytest

from iotedge_lab.clock import FakeClock
from iotedge_lab.errors import (
    ArgumentInvalid,
    DeviceNotFound,
    MaximumQueueDepthExceeded,
    MessageLockLost,
    MessageTooLarge,
    StoreUnavailable,
    Throttled,
)
from iotedge_lab.hub.command_message import Ack, Draft, Outcome, wants_feedback
from iotedge_lab.hub.command_settings import CommandSettings, lock_seconds
from iotedge_lab.hub.commands import QUEUE_LIMIT, Commands
from iotedge_lab.hub.identities import Identities
from iotedge_lab.hub.store import Store

TTL = 3600


class Device:
    """A live connection that keeps what it is sent; it acknowledges when it is told to."""

    def __init__(self, *, subscribed=True, qos=1, room=1000):
        self.subscribed = subscribed
        self.qos = qos
        self.room = room
        self.sent = []
        self._acknowledge = []
        self._again = []

    def deliver(self, topic, payload, acknowledged=None, *, kept=False, again=None):
        if not self.subscribed:
            return False
        if len(self.sent) >= self.room:
            raise Throttled("no room")
        assert kept
        if self.qos == 0:
            acknowledged()
        self.sent.append((topic, payload))
        self._acknowledge.append(acknowledged)
        self._again.append(again)
        return True

    @property
    def bodies(self):
        return [body for _, body in self.sent]

    def acknowledge(self, *numbers):
        for number in numbers:
            self._acknowledge[number]()

    def wanted(self):
        """Which of what was sent would be sent again."""
        return [body for again, body in zip(self._again, self.bodies, strict=True) if again()]


class Room:
    """Queues on a store of their own, with one device `d`."""

    def __init__(self, folder):
        self.clock = FakeClock()
        self.path = folder / "hub.db"
        self.open()
        self.identities.put("d", "", {}, None)

    def open(self):
        self.store = Store(self.path)
        self.identities = Identities(self.store, self.clock)
        self.commands = Commands(self.store, self.identities, self.clock)
        self.feedback = self.commands.feedback

    def restart(self):
        self.store.close()
        self.open()

    def send(self, body=b"x", *, device="d", ack=None, mid="m", expiry=None, **properties):
        """Send; raises what the sender is told."""
        told = []
        draft = Draft(device, body, {"message-id": mid}, properties, ack, expiry)
        self.commands.send(draft, told.append)
        assert len(told) == 1, "the sender is told once"
        if told[0] is not None:
            raise told[0]

    def after(self, seconds):
        """Time passes, and the housekeeping runs."""
        self.clock.advance(seconds)
        self.commands.tick()

    def outcomes(self):
        """The feedback that waits: (message id, status) of each, taken and completed."""
        self.after(20)
        found = []
        while message := self.feedback.take():
            found += [(one["originalMessageId"], one["statusCode"]) for one in json.loads(message.body)]
            self.feedback.complete(message.lock)
        return found


@pytest.fixture
def room(tmp_path):
    made = Room(tmp_path)
    yield made
    made.store.close()


# -- sending -------------------------------------------------------------------------------------------


def test_a_message_waits_and_counts(room):
    """What is sent to a device that is away waits, and is its cloudToDeviceMessageCount."""
    assert room.commands.count("d") == 0
    for body in (b"1", b"2"):
        room.send(body)
    assert room.commands.count("d") == 2
    room.restart()
    assert room.commands.count("d") == 2


def test_an_unknown_device_is_refused(room):
    """404001, and nothing is kept."""
    with pytest.raises(DeviceNotFound):
        room.send(device="nobody")
    assert room.store.db.execute("SELECT COUNT(*) FROM command").fetchone() == (0,)


def test_the_51st_message_is_refused_until_there_is_room(room):
    """50 may wait: the next is 403004; a message that has expired, or was received, makes room at once."""
    room.send(b"short", expiry=int((room.clock.now() + 10) * 1000))
    for _ in range(QUEUE_LIMIT - 1):
        room.send()
    with pytest.raises(MaximumQueueDepthExceeded):
        room.send()
    room.clock.advance(10)  # expired, and the housekeeping has not run
    room.send()
    with pytest.raises(MaximumQueueDepthExceeded):
        room.send()
    room.commands.complete("d", room.commands.receive("d").lock)
    room.send()
    assert room.commands.count("d") == QUEUE_LIMIT


def test_the_queues_of_devices_are_their_own(room):
    """A full queue of one device is no other's."""
    room.identities.put("e", "", {}, None)
    for _ in range(QUEUE_LIMIT):
        room.send()
    room.send(device="e")
    assert room.commands.count("e") == 1


@pytest.mark.parametrize(
    ("draft", "error", "says"),
    [
        ({"ack": "loud"}, ArgumentInvalid, "none, positive, negative, full"),
        ({"ack": ""}, ArgumentInvalid, "iothub-ack"),
        ({"system": {"message-id": "a b"}}, ArgumentInvalid, "message-id"),
        ({"system": {"message-id": "é"}}, ArgumentInvalid, "message-id"),
        ({"system": {"message-id": "a" * 129}}, ArgumentInvalid, "128"),
        ({"system": {"correlation-id": "a\r\nb"}}, ArgumentInvalid, "correlation-id"),
        ({"system": {"user-id": "\0"}}, ArgumentInvalid, "user-id"),
        ({"system": {"content-type": "text/\tplain"}}, ArgumentInvalid, "content-type"),
        ({"expiry": 1_700_000_060}, ArgumentInvalid, "milliseconds"),
        ({"expiry": 0}, ArgumentInvalid, "milliseconds"),
        ({"expiry": -1}, ArgumentInvalid, "milliseconds"),
        ({"properties": {"": "x"}}, ArgumentInvalid, "named ''"),
        ({"properties": {"a b": "x"}}, ArgumentInvalid, "named 'a b'"),
        ({"properties": {"a:b": "x"}}, ArgumentInvalid, "letters, digits"),
        ({"properties": {"$.mid": "x"}}, ArgumentInvalid, "the hub's own"),
        ({"properties": {"a": "x\ny"}}, ArgumentInvalid, "unprintable"),
        ({"body": b"x" * 65_537}, MessageTooLarge, "65537 bytes"),
        ({"body": b"x" * 65_530, "properties": {"abc": "efgh"}}, MessageTooLarge, "65537 bytes"),
        ({"body": b"", "properties": {"a": "%" * 25_000}}, MessageTooLarge, "topic"),
    ],
)
def test_a_malformed_draft_is_refused_by_name(draft, error, says):
    """Each rule of the documents has its refusal, which says what is wrong."""
    with pytest.raises(error) as caught:
        Draft(**({"device": "d", "body": b"x"} | draft)).check()
    assert says in caught.value.message


@pytest.mark.parametrize(
    "draft",
    [
        {"body": b"x" * 65_536},
        {"body": b"x" * 65_530, "properties": {"ab": "efgh"}},
        {"system": {"message-id": "aZ9-:.+%_#*?!(),=@;$'"}},
        {"properties": {"a!#$%&'*+-.^_`|~Z9": "2026-01-31T10:00:00Z a/b+c é"}},
        {"properties": {"empty": "", "none": None}},
        {"ack": "none"},
    ],
)
def test_what_the_documents_allow_is_taken(draft):
    """The limits themselves are inside."""
    Draft(**({"device": "d", "body": b"x"} | draft)).check()


def test_a_store_that_refuses_refuses_the_message(room, monkeypatch):
    """A sender is told 503 when nothing was stored, and may send again."""
    room.store.db.execute("PRAGMA max_page_count = 1")
    with pytest.raises(StoreUnavailable):
        room.send(b"x" * 60_000)
    assert room.commands.count("d") == 0
    room.store.db.execute("PRAGMA max_page_count = 1000000")
    room.send(b"x" * 60_000)
    assert room.commands.count("d") == 1


# -- time to live --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "lives"),
    [(None, TTL), (60, 60), (7200, 7200), (10 * 86_400, 2 * 86_400)],
    ids=["default", "shorter", "longer", "two days at most"],
)
def test_a_message_lives_as_long_as_it_was_asked_to(room, asked, lives):
    """Absolute expiry, or the hub's hour; two days at most. Then it is dead-lettered as Expired."""
    room.send(ack="full", expiry=asked and int((room.clock.now() + asked) * 1000))
    room.after(lives - 1)
    assert room.commands.count("d") == 1
    assert room.outcomes() == [("m", "Expired")]
    assert room.commands.count("d") == 0
    assert room.commands.receive("d") is None


def test_an_expiry_that_has_passed_expires_the_message_at_once(room):
    """It is accepted and never delivered; its sender gets feedback."""
    device = Device()
    room.commands.connected("d", device)
    room.send(ack="negative", expiry=int((room.clock.now() - 1) * 1000))
    assert device.sent == []
    assert room.outcomes() == [("m", "Expired")]


def test_a_locked_message_expires_when_its_lock_ends(room):
    """A device that has received in time may complete until the lock ends, and not after."""
    room.send(b"1", ack="full", mid="1", expiry=int((room.clock.now() + 30) * 1000))
    room.send(b"2", ack="full", mid="2", expiry=int((room.clock.now() + 30) * 1000))
    first, second = (room.commands.receive("d").lock for _ in range(2))
    room.after(45)
    room.commands.complete("d", first)
    room.after(20)
    with pytest.raises(MessageLockLost):
        room.commands.complete("d", second)
    assert room.outcomes() == [("1", "Success"), ("2", "Expired")]


# -- over MQTT -----------------------------------------------------------------------------------------


def test_a_connected_device_gets_messages_at_once_and_in_order(room):
    """First what waited, then what comes; an acknowledgement completes."""
    room.send(b"1")
    room.send(b"2")
    device = Device()
    room.commands.connected("d", device)
    room.commands.pump("d")
    room.send(b"3")
    assert device.bodies == [b"1", b"2", b"3"]
    assert room.commands.count("d") == 3
    device.acknowledge(0, 2)
    assert room.commands.count("d") == 1
    room.restart()
    assert room.commands.receive("d").command.draft.body == b"2"


def test_a_message_on_its_way_is_not_sent_twice_on_one_connection(room):
    """Subscribing again, housekeeping and new messages repeat nothing."""
    device = Device()
    room.commands.connected("d", device)
    room.send(b"1")
    room.commands.pump("d")
    room.after(100)
    room.send(b"2")
    assert device.bodies == [b"1", b"2"]


def test_a_device_that_is_not_subscribed_gets_nothing_until_it_is(room):
    """The connection alone takes no message; the subscription does."""
    device = Device(subscribed=False)
    room.commands.connected("d", device)
    room.send(b"1")
    assert device.sent == []
    device.subscribed = True
    room.commands.pump("d")
    assert device.bodies == [b"1"]


def test_qos_0_completes_when_sent(room):
    """A QoS 0 subscription has no acknowledgement to wait for."""
    device = Device(qos=0)
    room.commands.connected("d", device)
    room.send(b"1", ack="full")
    assert device.bodies == [b"1"]
    assert room.commands.count("d") == 0
    assert room.outcomes() == [("m", "Success")]


def test_a_device_without_room_gets_the_rest_later(room):
    """What an outbox has no room for stays in its order, and is tried again once a second."""
    device = Device(room=2)
    room.commands.connected("d", device)
    for body in (b"1", b"2", b"3"):
        room.send(body)
    assert device.bodies == [b"1", b"2"]
    device.room = 10
    room.after(1)
    assert device.bodies == [b"1", b"2", b"3"]


def test_what_was_not_acknowledged_is_wanted_again(room):
    """After a reconnection the outbox may send again what still waits; what has expired or was purged not."""
    old, new = Device(), Device()
    room.commands.connected("d", old)
    room.send(b"done")
    room.send(b"waits")
    room.send(b"expires", expiry=int((room.clock.now() + 10) * 1000))
    old.acknowledge(0)
    room.commands.gone("d", old)
    room.after(11)
    room.commands.connected("d", new)
    assert old.wanted() == [b"waits"]  # the session's outbox asks
    room.send(b"fresh")
    room.commands.pump("d")
    assert new.bodies == [b"fresh"], "what the outbox sent again is on its way already"


def test_a_session_that_was_lost_gets_messages_as_new_deliveries(room):
    """Without an outbox that asks, what is not acknowledged is delivered anew."""
    old, new = Device(), Device()
    room.commands.connected("d", old)
    room.send(b"1")
    room.commands.connected("d", new)  # takes over before the old one has gone
    room.commands.pump("d")
    room.commands.gone("d", old)  # late: it changes nothing
    room.send(b"2")
    assert new.bodies == [b"1", b"2"]


def test_deliveries_that_end_with_the_connection_count(room):
    """The tenth delivery without an acknowledgement is the last: DeliveryCountExceeded."""
    room.send(b"1", ack="negative")
    for attempt in range(10):
        device = Device()
        room.commands.connected("d", device)
        room.commands.pump("d")
        assert device.bodies == [b"1"], attempt
        room.commands.gone("d", device)
    assert room.commands.count("d") == 0
    assert room.outcomes() == [("m", "DeliveryCountExceeded")]


def test_an_acknowledgement_after_the_end_changes_nothing(room):
    """A PUBACK for a message that was purged meanwhile is no second outcome."""
    device = Device()
    room.commands.connected("d", device)
    room.send(b"1", ack="full")
    assert room.commands.purge("d") == 1
    device.acknowledge(0)
    assert room.outcomes() == [("m", "Purged")]


def test_a_completion_that_the_store_refuses_is_tried_again(room, monkeypatch):
    """The device has the message: it is not delivered again, and completed as soon as the store takes it."""
    device = Device()
    room.commands.connected("d", device)
    room.send(b"1", ack="full")
    refuse = StoreUnavailable("the disk is full")

    def full(_):
        raise refuse

    with monkeypatch.context() as patch:
        patch.setattr(room.commands, "_end", full)
        device.acknowledge(0)
        room.commands.pump("d")
    assert device.bodies == [b"1"]
    assert room.commands.count("d") == 1
    assert room.outcomes() == [("m", "Success")]
    assert room.commands.count("d") == 0


# -- over HTTPS ----------------------------------------------------------------------------------------


def test_receiving_locks_the_oldest_free_message(room):
    """Each call gives the next; a locked one is nobody's until its lock ends or it is abandoned."""
    for body in (b"1", b"2"):
        room.send(body)
    first, second = room.commands.receive("d"), room.commands.receive("d")
    assert [one.command.draft.body for one in (first, second)] == [b"1", b"2"]
    assert first.lock != second.lock
    assert room.commands.receive("d") is None
    room.commands.abandon("d", first.lock)
    again = room.commands.receive("d")
    assert (again.command.draft.body, again.command.deliveries) == (b"1", 1)


def test_a_lock_outlives_the_hub(room):
    """A message that was received before a restart is completed by the same lock after it."""
    room.send(ack="full")
    lock = room.commands.receive("d").lock
    room.restart()
    assert room.commands.receive("d") is None
    room.commands.complete("d", lock)
    assert room.outcomes() == [("m", "Success")]


@pytest.mark.parametrize("settle", ["complete", "reject", "abandon"])
@pytest.mark.parametrize("case", ["made up", "ended", "settled", "another device's"])
def test_settling_without_the_lock_is_refused(room, settle, case):
    """412002 DeviceMessageLockLost, and the message stays as it is."""
    room.send()
    lock = room.commands.receive("d").lock
    device = "d"
    if case == "made up":
        lock = "x"
    elif case == "ended":
        room.after(60)
    elif case == "settled":
        room.commands.complete("d", lock)
    else:
        device = "e"
        room.identities.put("e", "", {}, None)
    with pytest.raises(MessageLockLost):
        getattr(room.commands, settle)(device, lock)
    assert room.commands.count("d") == (0 if case == "settled" else 1)


@pytest.mark.parametrize(("asked", "lasts"), [(None, 60), (5, 5), (300, 300)])
def test_a_lock_lasts_as_long_as_asked(room, asked, lasts):
    """60 s unless the device says otherwise; then the message is free again, and the delivery has counted."""
    room.send()
    assert room.commands.receive("d", asked) is not None
    room.after(lasts - 1)
    assert room.commands.receive("d") is None
    room.clock.advance(1)  # receiving itself ends a lock whose time is up
    assert room.commands.receive("d").command.deliveries == 1


def test_a_message_that_is_abandoned_too_often_is_dead_lettered(room):
    """maxDeliveryCount deliveries, then DeliveryCountExceeded."""
    room.commands.configure(CommandSettings(max_deliveries=3))
    room.send(ack="full")
    for count in range(3):
        found = room.commands.receive("d")
        assert found.command.deliveries == count
        room.commands.abandon("d", found.lock)
    assert room.commands.receive("d") is None
    assert room.outcomes() == [("m", "DeliveryCountExceeded")]


def test_what_is_on_its_way_over_mqtt_is_not_received_over_https(room):
    """A message is at one place at a time, and at the other when it comes back."""
    device = Device()
    room.commands.connected("d", device)
    room.send(b"1")
    assert room.commands.receive("d") is None
    room.commands.gone("d", device)
    assert room.commands.receive("d").command.draft.body == b"1"
    room.commands.connected("d", device)
    assert device.wanted() == []
    room.after(60)
    assert device.bodies == [b"1", b"1"], "its lock has ended: delivered anew"


# -- feedback ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ack", [None, *Ack])
@pytest.mark.parametrize("outcome", list(Outcome))
def test_feedback_comes_as_it_was_asked_for(room, ack, outcome):
    """none, positive, negative, full: each outcome is told to those that want it, with its status code."""
    room.send(ack=ack)
    if outcome is Outcome.EXPIRED:
        room.after(TTL)
    elif outcome is Outcome.PURGED:
        room.commands.purge("d")
    elif outcome is Outcome.DELIVERY_COUNT_EXCEEDED:
        for _ in range(10):
            room.commands.abandon("d", room.commands.receive("d").lock)
    else:
        lock = room.commands.receive("d").lock
        (room.commands.complete if outcome is Outcome.SUCCESS else room.commands.reject)("d", lock)
    wanted = ack is not None and wants_feedback(ack, outcome)
    assert wanted == (ack in ("full", "positive" if outcome is Outcome.SUCCESS else "negative"))
    assert room.outcomes() == ([("m", str(outcome))] if wanted else [])


def test_a_record_has_the_documented_fields(room):
    """originalMessageId, deviceId, deviceGenerationId, enqueuedTimeUtc, statusCode, description."""
    room.send(ack="full", mid="id-1")
    room.commands.complete("d", room.commands.receive("d").lock)
    room.after(1)
    message = room.feedback.take()
    assert json.loads(message.body) == [
        {
            "originalMessageId": "id-1",
            "deviceId": "d",
            "deviceGenerationId": room.identities.get("d").generation_id,
            "enqueuedTimeUtc": "2023-11-14T22:13:20.000000Z",
            "statusCode": "Success",
            "description": "Success",
        }
    ]


def one_record(room, mid="m"):
    room.send(ack="full", mid=mid)
    room.commands.complete("d", room.commands.receive("d").lock)


def test_records_are_gathered_for_15_seconds_or_64(room):
    """The first goes out at once; what comes within 15 s of it goes out together, 64 at the most."""
    one_record(room, "first")
    room.after(1)
    assert room.feedback.take() is not None
    for number in range(3):
        one_record(room, f"{number}")
    room.after(14)
    assert room.feedback.take() is None
    room.after(1)
    assert len(json.loads(room.feedback.take().body)) == 3
    for number in range(130):
        one_record(room, f"{number}")
    room.after(1)
    sizes = []
    while message := room.feedback.take():
        sizes.append(len(json.loads(message.body)))
    assert sizes == [64, 64]
    room.after(15)
    assert len(json.loads(room.feedback.take().body)) == 2


def test_feedback_outlives_the_hub(room):
    """Neither a record that waits nor a message that was not completed is lost."""
    one_record(room, "1")
    room.restart()
    room.after(1)
    lock = room.feedback.take().lock
    one_record(room, "2")
    room.restart()
    assert room.feedback.take() is None
    room.feedback.abandon(lock)
    room.after(15)
    found = [json.loads(room.feedback.take().body)[0]["originalMessageId"] for _ in range(2)]
    assert found == ["1", "2"]


def test_a_feedback_message_is_locked_and_tried_ten_times(room):
    """Its lock ends after 60 s and counts; the tenth failure drops it."""
    one_record(room)
    room.after(1)
    for count in range(10):
        message = room.feedback.take()
        assert message.deliveries == count
        assert room.feedback.take() is None
        if count % 2:
            room.feedback.abandon(message.lock)
        else:
            room.after(60)
            with pytest.raises(MessageLockLost):
                room.feedback.complete(message.lock)
    assert room.feedback.take() is None


def test_a_feedback_message_expires(room):
    """Nobody reads it for an hour: it is gone."""
    one_record(room)
    room.after(1)
    room.after(TTL)
    assert room.feedback.take() is None
    assert room.store.db.execute("SELECT COUNT(*) FROM feedback_message").fetchone() == (0,)


def test_listeners_are_told_of_messages_that_may_be_taken(room):
    """A link is told when a message goes out and when one comes back; not after it has left."""
    told = []
    leave = room.feedback.listen(lambda: told.append(1))
    one_record(room)
    assert told == []
    room.after(1)
    assert len(told) == 1
    room.feedback.abandon(room.feedback.take().lock)
    assert len(told) == 2
    leave()
    room.feedback.abandon(room.feedback.take().lock)
    assert len(told) == 2


# -- purging and deleting ------------------------------------------------------------------------------


def test_purging_drops_all_that_waits(room):
    """Locked and delivered messages too; how many is told, and an unknown device is 404001."""
    for number in range(3):
        room.send(mid=str(number), ack="negative")
    lock = room.commands.receive("d").lock
    assert room.commands.purge("d") == 3
    assert room.commands.purge("d") == 0
    with pytest.raises(MessageLockLost):
        room.commands.complete("d", lock)
    assert room.outcomes() == [(str(number), "Purged") for number in range(3)]
    with pytest.raises(DeviceNotFound):
        room.commands.purge("nobody")


def test_a_deleted_device_takes_its_queue_and_its_feedback_along(room):
    """A device made anew under its id has an empty queue, and hears nothing of the old one's messages."""
    room.send(ack="full")
    one_record(room)
    room.identities.delete("d", "", None)
    room.identities.put("d", "", {}, None)
    assert room.commands.count("d") == 0
    assert room.outcomes() == []


def test_deleting_a_module_leaves_the_queue(room):
    """The queue is the device's."""
    room.identities.put("d", "m", {}, None)
    room.send()
    room.identities.delete("d", "m", None)
    assert room.commands.count("d") == 1


# -- options -------------------------------------------------------------------------------------------


def test_options_are_kept(room):
    """What was configured holds after a restart, for messages sent after it."""
    asked = {
        "defaultTtlAsIso8601": "PT1M30S",
        "maxDeliveryCount": 2,
        "feedback": {"ttlAsIso8601": "P2D", "intervalAsIso8601": "PT0S", "lockDurationAsIso8601": "PT5S"},
    }
    room.commands.configure(CommandSettings.from_json(asked))
    room.restart()
    shown = room.commands.settings.to_json()
    assert shown == {
        "defaultTtlAsIso8601": "PT1M30S",
        "maxDeliveryCount": 2,
        "feedback": {
            "ttlAsIso8601": "PT48H",
            "maxDeliveryCount": 10,
            "lockDurationAsIso8601": "PT5S",
            "intervalAsIso8601": "PT0S",
        },
    }
    assert CommandSettings.from_json(shown) == room.commands.settings
    room.send()
    room.after(90)
    assert room.commands.count("d") == 0


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({"defaultTtlAsIso8601": "1 hour"}, "ISO 8601"),
        ({"defaultTtlAsIso8601": "P"}, "ISO 8601"),
        ({"defaultTtlAsIso8601": "PT"}, "ISO 8601"),
        ({"defaultTtlAsIso8601": 60}, "ISO 8601"),
        ({"defaultTtlAsIso8601": "PT59S"}, "from PT1M to PT48H"),
        ({"defaultTtlAsIso8601": "P3D"}, "from PT1M to PT48H"),
        ({"maxDeliveryCount": 0}, "1 to 100"),
        ({"maxDeliveryCount": 101}, "1 to 100"),
        ({"maxDeliveryCount": True}, "1 to 100"),
        ({"feedback": []}, "object"),
        ({"feedback": {"lockDurationAsIso8601": "PT4S"}}, "from PT5S to PT5M"),
        ({"feedback": {"lockDurationAsIso8601": "PT301S"}}, "from PT5S to PT5M"),
        ({"ttl": 1}, "'ttl'"),
        ({"feedback": {"ttl": 1}}, "'feedback.ttl'"),
    ],
)
def test_a_malformed_option_is_refused_by_name(body, says):
    """The documented ranges hold."""
    with pytest.raises(ArgumentInvalid) as caught:
        CommandSettings.from_json(body)
    assert says in caught.value.message


@pytest.mark.parametrize("text", ["4", "301", "-5", "1.5", "", "x", "٦٠", "9" * 30])
def test_a_malformed_lock_time_is_refused(text):
    """The header takes whole seconds from 5 to 300."""
    with pytest.raises(ArgumentInvalid):
        lock_seconds(text, 60)
    assert lock_seconds("300", 60) == 300
