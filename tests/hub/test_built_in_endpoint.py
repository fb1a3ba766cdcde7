"""The built-in endpoint through azure-eventhub: where to start, who may read, and what it tells of itself."""

import asyncio
import datetime as dt
import re
import time

import pytest
from azure.eventhub import EventHubConsumerClient
from azure.eventhub.aio import EventHubConsumerClient as AioConsumerClient
from azure.eventhub.exceptions import AuthenticationError, ConnectError, ConnectionLostError, EventHubError
from hub_clients import Consumer, RawDevice, partition_of, some_key

from iotedge_lab.lab import Lab

DEVICE = "sender"
COUNT = 20


@pytest.fixture(scope="module")
def story(lab):
    """Twenty messages of one device, in two halves with a moment between; (partition, numbers, the moment)."""
    lab.rest().call("PUT", f"/devices/{DEVICE}", {})
    partition = partition_of(lab, DEVICE)
    with RawDevice(lab, DEVICE) as one:
        one.send(*(b"%d" % number for number in range(COUNT // 2)))
        time.sleep(0.05)  # the log counts in milliseconds
        moment = dt.datetime.now(dt.UTC)
        time.sleep(0.05)
        one.send(*(b"%d" % number for number in range(COUNT // 2, COUNT)))
    lab.create_consumer_group("Second")
    return partition, moment


@pytest.fixture(scope="module")
def known(lab, story):
    """The twenty events, as read from the beginning."""
    reader = Consumer(lab, partition_id=story[0])
    try:
        return reader.wait(COUNT)[:COUNT]
    finally:
        reader.close()


def _bodies(events):
    return [int(event.body_as_str()) for event in events]


def test_from_the_beginning(known):
    """ "-1" gives everything, numbered by one."""
    assert _bodies(known) == list(range(COUNT))
    assert [event.sequence_number for event in known] == list(range(COUNT))
    assert all(event.enqueued_time.tzinfo is not None for event in known)


STARTS = {
    "sequence number": lambda known, moment: (known[5].sequence_number, False, 6),
    "sequence number, inclusive": lambda known, moment: (known[5].sequence_number, True, 5),
    "offset": lambda known, moment: (known[5].offset, False, 6),
    "offset, inclusive": lambda known, moment: (known[5].offset, True, 5),
    "the last but one": lambda known, moment: (known[-2].offset, False, COUNT - 1),
    "time": lambda known, moment: (moment, False, COUNT // 2),
    "time, inclusive": lambda known, moment: (moment, True, COUNT // 2),
    "time of an event": lambda known, moment: (known[-1].enqueued_time, True, COUNT // 2),
    "long ago": lambda known, moment: (dt.datetime(2000, 1, 1, tzinfo=dt.UTC), False, 0),
    "the beginning, inclusive": lambda known, moment: ("-1", True, 0),
}


@pytest.mark.parametrize("start", STARTS)
def test_start_positions(consume, story, known, start):
    """Offset, sequence number, time; with or without the event at the place itself."""
    partition, moment = story
    position, inclusive, first = STARTS[start](known, moment)
    reader = consume(
        partition_id=partition, starting_position=position, starting_position_inclusive=inclusive
    )
    assert _bodies(reader.wait(COUNT - first))[: COUNT - first] == list(range(first, COUNT))


def _hears(lab, reader, body):
    """Send until a reader at the end hears it, with the pauses that the SDK needs; what it heard."""
    with RawDevice(lab, DEVICE) as one:
        for number in range(20):
            one.send(b"%s %d" % (body, number))
            with reader.news:
                if reader.news.wait_for(lambda: reader.events or reader.errors, 0.6):
                    break
    assert not reader.errors
    return [event.body_as_str() for event in reader.events]


def test_latest(lab, consume, story):
    """ "@latest" gives only what comes from then on."""
    heard = _hears(lab, consume(partition_id=story[0], starting_position="@latest"), b"latest")
    assert heard
    assert all(text.startswith("latest") for text in heard)


def test_beyond_the_end_waits(lab, consume, story, known):
    """A time to come is after all that is there: the next event is the first."""
    soon = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=1)
    heard = _hears(lab, consume(partition_id=story[0], starting_position=soon), b"soon")
    assert all(text.startswith("soon") for text in heard)


def test_a_waiting_consumer_hears_within_a_second(lab, consume, story):
    """A new event reaches a consumer that waits at the end in less than a second."""
    reader = consume(partition_id=story[0], starting_position="@latest")
    _hears(lab, reader, b"wake")
    took = []
    with RawDevice(lab, DEVICE) as one:
        for number in range(3):
            with reader.news:
                reader.news.wait_for(lambda: False, 0.5)  # a pause, as above
                before = len(reader.events)
            begun = time.monotonic()
            one.send(b"tick %d" % number)
            reader.wait(before + 1)
            took.append(time.monotonic() - begun)
    assert min(took) < 1, took


def test_a_steady_stream_is_heard_as_it_comes(lab, consume, story):
    """Twenty events, a twentieth of a second apart: with a prefetch of 1 each is there within a second.

    With its default prefetch of 300 the synchronous client hands out nothing while events come less than 0.2 s
    apart, whoever serves it: it reads on until 300 are there.
    """
    reader = consume(partition_id=story[0], starting_position="@latest", prefetch=1)
    _hears(lab, reader, b"wake")
    late = []
    with RawDevice(lab, DEVICE) as one:
        for number in range(20):
            one.send(b"steady %d" % number)
            with reader.news:
                begun = time.monotonic()
                came = reader.news.wait_for(
                    lambda: reader.events[-1].body_as_str() == f"steady {number}",  # noqa: B023 - called at once
                    1.0,
                )
                reader.news.wait_for(lambda: False, max(0.0, begun + 0.05 - time.monotonic()))
            if not came:
                late.append(number)
    assert late == []


def test_all_partitions(lab, consume, story):
    """Without a partition id a consumer reads them all."""
    for number in range(6):
        lab.rest().call("PUT", f"/devices/all-{number}", {})
        with RawDevice(lab, f"all-{number}") as one:
            one.send(b"all")
    reader = consume()
    senders = lambda: {  # noqa: E731
        e.system_properties[b"iothub-connection-device-id"] for e in reader.events if e.body_as_str() == "all"
    }
    with reader.news:
        assert reader.news.wait_for(lambda: len(senders()) == 6, 15), senders()
    assert {partition_of(lab, name.decode()) for name in senders()} == {"0", "1"}


async def test_the_aio_consumer(lab, story, known):
    """The asynchronous client reads the same events."""
    got = []
    enough = asyncio.Event()

    async def on_event(_, event):
        got.append(event)
        if len(got) == COUNT:
            enough.set()

    client = AioConsumerClient.from_connection_string(lab.events_connection_string, "$Default", retry_total=0)
    async with client:
        assert (await client.get_eventhub_properties())["partition_ids"] == ["0", "1"]
        reading = asyncio.create_task(
            client.receive(on_event=on_event, partition_id=story[0], starting_position="-1")
        )
        await asyncio.wait_for(enough.wait(), 20)
        reading.cancel()  # by itself the SDK's task sleeps on for up to half a minute
    assert _bodies(got[:COUNT]) == list(range(COUNT))


def test_over_tls(lab, consume, story):
    """The form that Azure has: TLS on 5671, with the lab's root by connection_verify."""
    key = lab._told.keys["service"]
    string = (
        f"Endpoint=sb://{lab.hostname}/;SharedAccessKeyName=service;SharedAccessKey={key};"
        f"EntityPath={lab.events_name}"
    )
    options = {"connection_verify": str(lab.ca_file)}
    reader = consume(connection_string=string, client_options=options, partition_id=story[0])
    assert _bodies(reader.wait(COUNT)[:COUNT]) == list(range(COUNT))


def test_what_it_tells_of_itself(lab, story, known):
    """`$management`: the hub's properties and each partition's."""
    client = EventHubConsumerClient.from_connection_string(
        lab.events_connection_string, "$Default", retry_total=0
    )
    with client:
        hub = client.get_eventhub_properties()
        assert hub["eventhub_name"] == lab.events_name
        assert hub["partition_ids"] == client.get_partition_ids() == ["0", "1"]
        assert hub["created_at"] <= dt.datetime.now(dt.UTC)
        for number in hub["partition_ids"]:
            told = client.get_partition_properties(number)
            status = lab.status()["partitions"][int(number)]
            assert told["id"] == number
            assert told["eventhub_name"] == lab.events_name
            assert told["is_empty"] is (status["last"] < status["first"])
            assert told["last_enqueued_sequence_number"] == status["last"]
            if not told["is_empty"]:
                assert told["beginning_sequence_number"] == status["first"]
                assert int(told["last_enqueued_offset"]) >= 0
        with pytest.raises(EventHubError):
            client.get_partition_properties("7")


def test_an_empty_partition(tmp_path):
    """A hub that has had no message says so, and a consumer on it waits without an error."""
    with Lab.open(tmp_path, ephemeral=True) as lab:
        client = EventHubConsumerClient.from_connection_string(lab.events_connection_string, "$Default")
        with client:
            told = client.get_partition_properties("0")
        assert told["is_empty"] is True
        assert told["last_enqueued_sequence_number"] == -1
        lab.rest().call("PUT", "/devices/d", {})
        reader = Consumer(lab)
        try:
            with RawDevice(lab, "d") as one:
                one.send(b"first")
            assert reader.wait(1)[0].sequence_number == 0
        finally:
            reader.close()


# -- consumer groups ----------------------------------------------------------------------------------


@pytest.mark.parametrize("spelling", ["Second", "second", "SECOND"])
def test_consumer_groups_know_no_case(consume, story, spelling):
    """A group is the same in any case."""
    assert _bodies(consume(group=spelling, partition_id=story[0]).wait(COUNT)[:COUNT]) == list(range(COUNT))


def test_two_groups_read_independently(consume, story):
    """Each group sees every event."""
    readers = [consume(group=name, partition_id=story[0]) for name in ("$Default", "second")]
    for reader in readers:
        assert _bodies(reader.wait(COUNT)[:COUNT]) == list(range(COUNT))


def test_an_unknown_group(consume, story):
    """A group that was not made is refused, with a word on how to make one."""
    error = consume(group="stranger", partition_id=story[0]).wait_error()
    assert isinstance(error, EventHubError)
    assert "stranger" in str(error)
    assert "consumer-group" in str(error)


def test_an_unknown_partition(consume, story):
    """A partition that is not there is refused, by the SDK itself."""
    assert "99" in str(consume(partition_id="99").wait_error())


# -- who may read -------------------------------------------------------------------------------------


def test_a_wrong_key(lab, consume, story):
    """A wrong key is an authentication error, and not a hang."""
    string = re.sub(r"SharedAccessKey=[^;]+", f"SharedAccessKey={some_key()}", lab.events_connection_string)
    error = consume(connection_string=string, partition_id=story[0]).wait_error()
    assert isinstance(error, AuthenticationError), repr(error)


@pytest.mark.parametrize("policy", ["registryReadWrite", "device"])
def test_too_few_rights(lab, consume, story, policy):
    """The endpoint opens to policies with ServiceConnect."""
    string = lab.events_connection_string.replace("iothubowner", policy).replace(
        lab._told.keys["iothubowner"], lab._told.keys[policy]
    )
    error = consume(connection_string=string, partition_id=story[0]).wait_error()
    assert isinstance(error, EventHubError), repr(error)


def test_the_sixth_reader_is_refused(lab, consume, story):
    """Five readers a partition and group; the sixth is told, the five read on, and another group is free."""
    five = [consume(partition_id=story[0]) for _ in range(5)]
    for reader in five:
        reader.wait(COUNT)
    sixth = consume(partition_id=story[0])
    error = sixth.wait_error()
    assert isinstance(error, EventHubError)
    assert "5" in str(error)
    consume(group="second", partition_id=story[0]).wait(COUNT)
    assert not any(reader.errors for reader in five)
    five[0].close()
    consume(partition_id=story[0]).wait(COUNT)


def test_a_higher_owner_level_takes_over(consume, story):
    """The lower is told that it lost the partition, and cannot come back while the higher reads."""
    low = consume(partition_id=story[0], owner_level=1)
    low.wait(COUNT)
    high = consume(partition_id=story[0], owner_level=2)
    high.wait(COUNT)
    assert isinstance(low.wait_error(), ConnectionLostError), repr(low.errors[0])
    late = consume(partition_id=story[0], owner_level=1)
    assert isinstance(late.wait_error(), (ConnectionLostError, ConnectError)), repr(late.errors[0])
    plain = consume(partition_id=story[0])
    assert isinstance(plain.wait_error(), EventHubError)
    assert not high.errors


def test_an_owner_level_drops_readers_without(consume, story):
    """A reader with an owner level is alone; the other group is not touched."""
    plain = consume(partition_id=story[0])
    other = consume(group="second", partition_id=story[0])
    for reader in (plain, other):
        reader.wait(COUNT)
    owner = consume(partition_id=story[0], owner_level=0)
    owner.wait(COUNT)
    assert isinstance(plain.wait_error(), ConnectionLostError)
    assert not other.errors
    assert not owner.errors


# -- what comes ---------------------------------------------------------------------------------------


def test_last_enqueued_properties(lab, story):
    """track_last_enqueued_event_properties tells with each event where the partition ends."""
    seen = []
    client = EventHubConsumerClient.from_connection_string(lab.events_connection_string, "$Default")

    def on_event(context, event):
        seen.append((event.sequence_number, context.last_enqueued_event_properties))
        if len(seen) == COUNT:
            client.close()

    client.receive(
        on_event=on_event,
        partition_id=story[0],
        starting_position="-1",
        track_last_enqueued_event_properties=True,
    )
    last = lab.status()["partitions"][int(story[0])]["last"]
    number, told = seen[COUNT - 1]
    assert number <= told["sequence_number"] <= last
    assert int(told["offset"]) >= number
    assert told["enqueued_time"] <= told["retrieval_time"] + dt.timedelta(seconds=1)


def test_large_events(lab, consume, story):
    """Events of 200 KB come whole, in many frames, and in order with small ones."""
    lab.rest().call("PUT", "/devices/large", {})
    partition = partition_of(lab, "large")
    first = lab.status()["partitions"][int(partition)]["last"]
    bodies = [bytes([65 + number]) * (200_000 if number % 2 else 10) for number in range(8)]
    with RawDevice(lab, "large") as one:
        for body in bodies:
            one.send(body)
    reader = consume(partition_id=partition, starting_position=first)
    assert [b"".join(event.body) for event in reader.wait(8)][:8] == bodies


def test_many_consumers_leave_nothing_behind(lab, consume, story):
    """After all those clients, some of which were cut, the hub serves the next one."""
    reader = consume(partition_id=story[0])
    assert _bodies(reader.wait(COUNT)[:COUNT]) == list(range(COUNT))
    assert "Traceback" not in lab.state_dir.joinpath("hub.log").read_text()
