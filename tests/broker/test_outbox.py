"""The outbox: packet ids, what is kept for a client's return, and what is not."""

import pytest

from iotedge_lab.broker.outbox import IN_FLIGHT, Outbox
from iotedge_lab.broker.sessions import Sessions
from iotedge_lab.errors import Throttled
from iotedge_lab.wire.mqtt.decode import PacketReader
from iotedge_lab.wire.mqtt.packets import MAX_PACKET_ID, Publish, PublishRun
from iotedge_lab.wire.mqtt.runs import iter_publishes


def read(data):
    """What a client reads from the outbox's bytes: (packet id, topic, payload, DUP) of each."""
    found = []
    for event in PacketReader(10_000).feed(data):
        if isinstance(event, PublishRun):
            found += [
                (number, topic.decode(), body, False) for topic, body, number in iter_publishes(event.raw)
            ]
        else:
            assert isinstance(event, Publish)
            found.append((event.packet_id, event.topic, event.payload, event.dup))
    return found


def told():
    """A callback that counts its calls."""
    calls = []
    return calls, lambda: calls.append(1)


def test_qos_0_counts_as_acknowledged_at_once():
    """Nothing of a QoS 0 message stays: it is acknowledged when it is written."""
    outbox = Outbox()
    calls, acknowledged = told()
    outbox.publish("t", b"1", 0, acknowledged, kept=True)
    assert calls == [1]
    assert len(outbox) == 0
    assert outbox.resend() == b""


def test_an_acknowledgement_is_told_once():
    """A second PUBACK of the same id, or one of an id that was never used, is passed over."""
    outbox = Outbox()
    calls, acknowledged = told()
    [(number, *_)] = read(outbox.publish("t", b"1", 1, acknowledged))
    assert outbox.acknowledge(number)
    assert not outbox.acknowledge(number)
    assert not outbox.acknowledge(77)
    assert calls == [1]


def test_what_is_kept_comes_again_in_order_with_its_id_and_dup():
    """After a disconnection the kept messages are sent again as they were; the others are forgotten."""
    outbox = Outbox()
    sent = [read(outbox.publish("t", bytes([n]), 1, kept=n % 2 == 0))[0] for n in range(5)]
    outbox.disconnected()
    again = read(outbox.resend())
    assert again == [(number, topic, payload, True) for number, topic, payload, _ in sent[::2]]
    assert outbox.acknowledge(again[0][0])
    assert [number for number, *_ in read(outbox.resend())] == [sent[2][0], sent[4][0]]


def test_what_is_no_longer_wanted_is_not_sent_again():
    """A kept message whose `again` says no is dropped: a late acknowledgement of it means nothing."""
    outbox = Outbox()
    wanted = {1: True, 2: False, 3: True}
    numbers = [
        read(outbox.publish("t", bytes([n]), 1, kept=True, again=lambda n=n: wanted[n]))[0][0] for n in wanted
    ]
    outbox.disconnected()
    assert [payload for _, _, payload, _ in read(outbox.resend())] == [b"\1", b"\3"]
    assert not outbox.acknowledge(numbers[1])
    assert len(outbox) == 2


def test_a_client_that_never_acknowledges_is_throttled():
    """The outbox takes a bounded number of messages, and takes more when one is acknowledged."""
    outbox = Outbox()
    for _ in range(IN_FLIGHT):
        outbox.publish("t", b"", 1)
    assert outbox.room == 0
    with pytest.raises(Throttled):
        outbox.publish("t", b"", 1)
    outbox.publish("t", b"", 0)  # QoS 0 needs no room
    assert outbox.acknowledge(1)
    assert outbox.room == 1


def test_packet_ids_go_round_and_pass_over_those_in_use():
    """After 65535 comes 1, or the next id that no message on its way has (MQTT 3.1.1, 2.3.1)."""
    outbox = Outbox()
    [(first, *_)] = read(outbox.publish("t", b"stays", 1))
    numbers = []
    for _ in range(MAX_PACKET_ID):
        packet = outbox.publish("t", b"", 1)
        numbers.append(int.from_bytes(packet[5:7]))  # type, length, a topic of 2 + 1 bytes, then the id
        outbox.acknowledge(numbers[-1])
    assert first == 1
    assert numbers[: MAX_PACKET_ID - 1] == list(range(2, MAX_PACKET_ID + 1))
    assert numbers[-1] == 2


class _Memory:
    def __init__(self):
        self.kept = {}

    def load(self, device, module):
        return self.kept.get((device, module))

    def save(self, device, module, epoch, subscriptions):
        self.kept[device, module] = (epoch, subscriptions)

    def forget(self, device, module):
        del self.kept[device, module]


class _Connection:
    def drop(self, reason):
        self.dropped = reason


@pytest.mark.parametrize(
    ("old_clean", "new_clean", "carried"),
    [(False, False, 1), (True, False, 0), (False, True, 0)],
    ids=["persistent", "the old was clean", "the new is clean"],
)
def test_a_new_connection_takes_over_what_the_older_one_left(old_clean, new_clean, carried):
    """A takeover carries the kept messages over, and the older connection's late end takes nothing away."""
    sessions = Sessions(_Memory(), lambda: 1)
    old, new = _Connection(), _Connection()
    before, _ = sessions.open("d", "", old, clean=old_clean)
    before.outbox.publish("t", b"kept", 1, kept=True)
    before.outbox.publish("t", b"not", 1)
    after, _ = sessions.open("d", "", new, clean=new_clean)
    assert [payload for _, _, payload, _ in read(after.outbox.resend())] == [b"kept"] * carried
    after.outbox.publish("t", b"a method call", 1)
    sessions.close(before, old, clean=False)
    assert len(after.outbox) == carried + 1
