"""Links between two engines: credit, windows, deliveries, outcomes, refusals and breaches."""

import pytest
from amqp_wire import Wire, all_of, only

from iotedge_lab.errors import UsageError
from iotedge_lab.wire.amqp import conditions as c
from iotedge_lab.wire.amqp import events as e
from iotedge_lab.wire.amqp.frames import AMQP_HEADER, encode_frame
from iotedge_lab.wire.amqp.link import RCV_SECOND, SND_MIXED, SND_SETTLED, SND_UNSETTLED
from iotedge_lab.wire.amqp.performatives import (
    ACCEPTED,
    RELEASED,
    Attach,
    Begin,
    Detach,
    Disposition,
    End,
    Error,
    Flow,
    Modified,
    Open,
    Received,
    Rejected,
    Source,
    Target,
    Transfer,
)
from iotedge_lab.wire.amqp.serial import MASK, add, distance
from iotedge_lab.wire.amqp.states import LinkState, SessionState
from iotedge_lab.wire.amqp.types import Described, Symbol


def bodies(events):
    return [one.payload for one in all_of(events, e.MessageReceived)]


def test_attach_tells_both_sides():
    """Each side sees what the other asked for, filters and properties included."""
    wire = Wire()
    session = wire.opened()
    selector = {Symbol("f"): Described(Symbol("f"), "x > 1")}
    ours = session.attach_receiver(
        "r", source=Source("q", filter=selector), properties={"com.microsoft:epoch": 3}
    )
    _, at_server = wire.run()
    theirs = only(at_server, e.LinkAttached).link
    assert theirs.is_sender
    assert not theirs.is_local
    assert (theirs.name, theirs.source.address, dict(theirs.filters)) == ("r", "q", selector)
    assert theirs.properties == {"com.microsoft:epoch": 3}
    theirs.accept(properties={"p": 1}, max_message_size=77)
    at_client, _ = wire.run()
    assert only(at_client, e.LinkConfirmed).link is ours
    assert ours.attached
    assert ours.properties == {"p": 1}
    assert ours.peer_max_message_size == 77
    assert ours.filters == selector


@pytest.mark.parametrize("is_sender", [True, False])
def test_refusal(is_sender):
    """A refused link is answered without a terminus of that side, then detached with the reason (2.6.3)."""
    wire = Wire()
    session = wire.opened()
    ours = (
        session.attach_sender("n", target=Target("q"))
        if is_sender
        else session.attach_receiver("n", source=Source("q"))
    )
    wire.run()
    wire.attached().refuse(c.NOT_FOUND, "no such entity")
    at_client, at_server = wire.run()
    assert [type(one) for one in at_client] == [e.LinkConfirmed, e.LinkDetached]
    assert (ours.target if is_sender else ours.source) is None
    assert at_client[-1].error == Error(c.NOT_FOUND, "no such entity")
    assert at_client[-1].closed
    assert only(at_server, e.LinkDetached).link is wire.attached()
    assert session.links == ()


def test_answering_twice():
    """A link is answered once, by the side that did not attach it."""
    wire = Wire()
    ours, theirs = wire.client_sends(wire.opened())
    for call in (theirs.accept, lambda: theirs.refuse("x", "y"), ours.accept):
        with pytest.raises(c.WrongState):
            call()


def test_detach_before_the_answer():
    """A peer that gives up before the answer is answered all the same; a late answer does nothing."""
    wire = Wire()
    session = wire.opened()
    ours = session.attach_sender("n", target=Target("q"))
    ours.detach()
    at_client, at_server = wire.run()
    assert [type(one) for one in at_server] == [e.LinkAttached, e.LinkDetached]
    theirs = wire.attached()
    theirs.accept()
    theirs.refuse("x", "y")
    assert wire.server.data_to_send() == b""
    assert only(at_client, e.LinkDetached).link is ours
    assert ours.state is theirs.state is LinkState.DETACHED


def test_detach_needs_an_answer_first():
    """A link that waits for an answer is refused, not detached."""
    wire = Wire()
    wire.opened().attach_sender("n", target=Target("q"))
    wire.run()
    with pytest.raises(c.WrongState):
        wire.attached().detach()


@pytest.mark.parametrize("closed", [True, False])
def test_detach_is_confirmed(closed):
    """Each side hears of a detach once, and the handle is used again."""
    wire = Wire()
    session = wire.opened()
    ours, theirs = wire.client_sends(session)
    theirs.detach(closed=closed, error=Error(c.LINK_STOLEN, "taken"))
    theirs.detach()
    at_client, at_server = wire.run()
    assert only(at_client, e.LinkDetached) == e.LinkDetached(ours, closed, Error(c.LINK_STOLEN, "taken"))
    assert only(at_server, e.LinkDetached) == e.LinkDetached(theirs, closed, None)
    again, _ = wire.client_sends(session)
    assert again.local_handle == ours.local_handle
    assert session.unsettled_out == {}


def test_attached_again_takes_the_link():
    """Attaching a name again takes the link from its older handle (2.6.1)."""
    wire = Wire()
    session = wire.opened()
    _, first = wire.client_sends(session, "same")
    wire.server.receive(encode_frame(0, Attach("same", 9, False, initial_delivery_count=0)))
    assert not first.attached
    at_client, _ = wire.run()
    assert only(at_client, e.LinkDetached).error.condition == c.LINK_STOLEN


def test_one_name_both_directions():
    """A name is taken per direction; the same one twice is the caller's mistake."""
    wire = Wire()
    session = wire.opened()
    wire.client_sends(session, "n")
    wire.server_sends(session, "n")
    with pytest.raises(c.WrongState):
        session.attach_sender("n", target=Target("q"))


def test_handle_max_of_the_peer():
    """No more links are attached than the peer allows."""
    wire = Wire(server={"handle_max": 1})
    session = wire.opened()
    for name in "ab":
        session.attach_sender(name, target=Target("q"))
    with pytest.raises(c.WrongState):
        session.attach_sender("c", target=Target("q"))


@pytest.mark.parametrize("chunk", [0, 1])
@pytest.mark.parametrize("size", [0, 1, 400, 480, 600, 5000])
def test_messages_of_all_sizes(size, chunk):
    """A message arrives whole, split over frames where the frame size asks for it, either way."""
    wire = Wire(client={"max_frame_size": 512}, chunk=chunk)
    session = wire.opened()
    payload = bytes(one % 251 for one in range(size))
    up, _ = wire.client_sends(session)
    down, _ = wire.server_sends(session)
    assert up.send(payload, delivery_tag=b"tag", message_format=0x80013700) == 0
    assert down.send(payload) == 0
    at_client, at_server = wire.run()
    got = only(at_server, e.MessageReceived)
    assert (got.payload, got.delivery_tag, got.message_format) == (payload, b"tag", 0x80013700)
    got = only(at_client, e.MessageReceived)
    assert (got.payload, got.delivery_tag, got.message_format) == (payload, b"\x00\x00\x00\x00", 0)


def test_frames_keep_to_the_frame_size():
    """No frame is larger than the peer's max-frame-size, and all but the last are full."""
    wire = Wire(client={"max_frame_size": 512})
    down, _ = wire.server_sends(wire.opened())
    down.send(b"x" * 3000, delivery_tag=b"t" * 32)
    raw = wire.server.data_to_send()
    sizes = []
    while raw:
        sizes.append(int.from_bytes(raw[:4]))
        raw = raw[sizes[-1] :]
    assert len(sizes) == 7
    assert sizes[:-1] == [512] * 6
    assert sizes[-1] <= 512


def test_credit():
    """A sender sends as much as it has credit for, and is told when there is more."""
    wire = Wire()
    up, theirs = wire.client_sends(wire.opened(), credit=2)
    assert up.credit == 2
    up.send(b"1")
    up.send(b"2")
    assert up.credit == 0
    with pytest.raises(c.NoCredit):
        up.send(b"3")
    wire.run()
    theirs.grant(5)
    at_client, _ = wire.run()
    assert only(at_client, e.CreditGranted) == e.CreditGranted(up, 5, False)
    theirs.grant(0)
    wire.run()
    assert up.credit == 0
    with pytest.raises(UsageError):
        theirs.grant(-1)


def test_credit_crosses_messages():
    """Credit counts from what the receiver had seen: messages under way are taken off."""
    wire = Wire()
    up, theirs = wire.client_sends(wire.opened(), credit=2)
    up.send(b"1")
    theirs.grant(4)
    wire.run()
    assert up.credit == 3
    assert theirs.credit == 3


def test_top_up():
    """A receiver that tops up never lets its sender starve."""
    wire = Wire()
    up, theirs = wire.client_sends(wire.opened(), credit=10, top_up=True)
    for _ in range(20):
        while up.credit:
            up.send(b"x", settled=True)
        wire.run()
    assert len(all_of(wire.at_server, e.MessageReceived)) >= 100
    assert theirs.credit > 5


def test_unsettled_are_bounded():
    """Neither side remembers more unsettled deliveries than its limit; settling makes room."""
    wire = Wire(client={"max_unsettled": 3}, server={"max_unsettled": 5})
    session = wire.opened()
    up, theirs = wire.client_sends(session, credit=100, top_up=True)
    assert theirs.credit == 5
    ids = [up.send(b"x") for _ in range(3)]
    assert up.credit == 0
    with pytest.raises(c.NoCredit):
        up.send(b"x")
    wire.run()
    for one in ids:
        theirs.settle(one)
    wire.run()
    assert up.credit == 3
    assert session.unsettled_out == {}
    down, ours = wire.server_sends(session, credit=100, top_up=True)
    assert ours.credit == 3
    ids = [down.send(b"y") for _ in range(3)]
    wire.run()
    assert down.credit == 0
    assert [ours.settle(one) for one in ids] == [True] * 3
    wire.run()
    assert down.credit > 0


def test_drain():
    """A drained sender sends what it has and gives the rest of the credit back."""
    wire = Wire()
    down, ours = wire.server_sends(wire.opened(), credit=10)
    down.drained()
    assert wire.server.data_to_send() == b""
    ours.drain()
    _, at_server = wire.run()
    assert only(at_server, e.CreditGranted) == e.CreditGranted(down, 10, True)
    down.send(b"last")
    down.drained()
    at_client, _ = wire.run()
    assert [type(one) for one in at_client] == [e.MessageReceived, e.LinkDrained]
    assert (down.credit, ours.credit) == (0, 0)
    assert ours.delivery_count == down.delivery_count == 10
    ours.grant(3)
    wire.run()
    assert (down.credit, down.drain) == (3, False)


def test_drain_waits_for_the_window():
    """The end of the credit is told only after the messages that used it."""
    wire = Wire(client={"incoming_window": 2})
    down, ours = wire.server_sends(wire.opened(), credit=10)
    ours.drain()
    wire.run()
    for one in range(5):
        down.send(b"%d" % one)
    down.drained()
    at_client, _ = wire.run()
    assert bodies(at_client) == [b"0", b"1", b"2", b"3", b"4"]
    assert isinstance(at_client[-1], e.LinkDrained)


@pytest.mark.parametrize("window", [1, 2, 3, 10])
def test_session_window(window):
    """Frames beyond the peer's window wait, and go on when it opens, in order."""
    wire = Wire(server={"incoming_window": window, "max_frame_size": 512})
    session = wire.opened()
    up, _ = wire.client_sends(session, credit=50)
    sent = [b"%d" % one * 600 for one in range(9)]
    for one in sent:
        up.send(one)
    assert session.queued_frames > 0
    _, at_server = wire.run()
    assert bodies(at_server) == sent
    assert session.queued_frames == 0


def test_detach_drops_what_waits():
    """Frames that wait for the window go with their link, and do not disturb others."""
    wire = Wire(server={"incoming_window": 1})
    session = wire.opened()
    first, _ = wire.client_sends(session, "first")
    second, _ = wire.client_sends(session, "second")
    for _ in range(3):
        first.send(b"1")
        second.send(b"2")
    first.detach()
    _, at_server = wire.run()
    assert bodies(at_server) == [b"1", b"2", b"2", b"2"]
    assert second.attached
    with pytest.raises(c.NotAttached):
        first.send(b"x")
    assert first.credit == 0


OUTCOMES = {
    "accepted": ACCEPTED,
    "released": RELEASED,
    "rejected": Rejected(Error("amqp:not-found", "gone")),
    "rejected without a reason": Rejected(),
    "modified": Modified(delivery_failed=True, undeliverable_here=True, message_annotations={Symbol("a"): 1}),
}


@pytest.mark.parametrize("case", OUTCOMES)
def test_outcomes(case):
    """Each outcome reaches the sender, once."""
    wire = Wire()
    up, theirs = wire.client_sends(wire.opened())
    delivery = up.send(b"x", delivery_tag=b"t")
    wire.run()
    assert theirs.settle(delivery, OUTCOMES[case]) is True
    assert theirs.settle(delivery, ACCEPTED) is False
    at_client, _ = wire.run()
    assert at_client == [e.DeliverySettled(up, delivery, b"t", OUTCOMES[case], True)]


def test_dispositions_are_gathered():
    """Consecutive deliveries with one outcome are settled in one frame, others in their own."""
    wire = Wire()
    up, theirs = wire.client_sends(wire.opened(), credit=20)
    ids = [up.send(b"x") for _ in range(9)]
    wire.run()
    states = [ACCEPTED] * 3 + [RELEASED] * 2 + [ACCEPTED] * 4
    for one, state in zip(ids, states, strict=True):
        theirs.settle(one, state)
    raw = wire.server.data_to_send()
    assert raw == b"".join(
        encode_frame(0, Disposition(True, first, last, True, state))
        for first, last, state in ((0, 2, ACCEPTED), (3, 4, RELEASED), (5, 8, ACCEPTED))
    )
    settled = wire.client.receive(raw)
    assert [(one.delivery_id, one.state) for one in settled] == list(zip(ids, states, strict=True))
    assert settled[0].delivery_tag == b"\x00\x00\x00\x00"


def test_ranges_and_strangers():
    """A range settles what is remembered of it, in order, however wide it is."""
    wire = Wire()
    up, _ = wire.client_sends(wire.opened(), credit=20)
    ids = [up.send(b"x") for _ in range(4)]
    wire.client.data_to_send()
    events = wire.client.receive(encode_frame(0, Disposition(True, 1, 2, True, ACCEPTED)))
    assert [one.delivery_id for one in events] == ids[1:3]
    assert wire.client.receive(encode_frame(0, Disposition(True, 1, 1, True, ACCEPTED))) == []
    events = wire.client.receive(encode_frame(0, Disposition(True, MASK - 1000, 2**30, True, RELEASED)))
    assert [one.delivery_id for one in events] == [0, 3]


def test_receiver_may_leave_settling_to_the_sender():
    """In rcv-settle-mode second the outcome comes unsettled, and the sender settles on it."""
    wire = Wire()
    session = wire.opened()
    ours = session.attach_sender("n", target=Target("q"), rcv_settle_mode=RCV_SECOND)
    wire.run()
    theirs = wire.attached()
    theirs.accept(rcv_settle_mode=RCV_SECOND)
    theirs.grant(5)
    wire.run()
    delivery = ours.send(b"x")
    wire.run()
    theirs.settle(delivery, RELEASED)
    assert theirs.session.unsettled_in == {delivery: theirs}
    at_client, _ = wire.run()
    assert at_client == [e.DeliverySettled(ours, delivery, b"\x00\x00\x00\x00", RELEASED, True)]
    assert theirs.session.unsettled_in == {}
    theirs = wire.client_sends(session, "first", rcv_settle_mode=RCV_SECOND)[1]
    assert theirs.rcv_settle_mode == 0


def test_state_on_the_way():
    """A state that is not terminal is told, and the delivery stays unsettled."""
    wire = Wire()
    up, theirs = wire.client_sends(wire.opened())
    delivery = up.send(b"x")
    wire.run()
    theirs.settle(delivery, Received(0, 1), settled=False)
    at_client, _ = wire.run()
    assert at_client == [e.DeliverySettled(up, delivery, b"\x00\x00\x00\x00", Received(0, 1), False)]
    theirs.settle(delivery)
    assert only(wire.run()[0], e.DeliverySettled).settled


@pytest.mark.parametrize(
    ("mode", "given", "settled"),
    [
        (SND_MIXED, None, False),
        (SND_MIXED, True, True),
        (SND_SETTLED, None, True),
        (SND_UNSETTLED, None, False),
        (SND_SETTLED, False, None),
        (SND_UNSETTLED, True, None),
    ],
)
def test_settle_modes(mode, given, settled):
    """The agreed snd-settle-mode decides; contradicting it is the caller's mistake."""
    wire = Wire()
    down, _ = wire.server_sends(wire.opened(), snd_settle_mode=mode)
    if settled is None:
        with pytest.raises(UsageError):
            down.send(b"x", settled=given)
        return
    down.send(b"x", settled=given)
    assert only(wire.run()[0], e.MessageReceived).settled is settled
    assert bool(down.session.unsettled_out) is not settled


def test_callers_limits():
    """Tags and messages that the peer cannot take are refused before anything is written."""
    wire = Wire(server={"max_message_size": 10})
    up, _ = wire.client_sends(wire.opened())
    with pytest.raises(UsageError):
        up.send(b"x", delivery_tag=b"t" * 33)
    with pytest.raises(UsageError):
        up.send(b"x" * 11)
    up.send(b"x" * 10)
    assert bodies(wire.run()[1]) == [b"x" * 10]


def test_ids_wrap():
    """Delivery and transfer ids go on from 2**32 - 1 to 0 (RFC 1982)."""
    first = MASK - 2
    wire = Wire(client={"first_id": first}, server={"first_id": first, "incoming_window": 4})
    session = wire.opened()
    up, theirs = wire.client_sends(session, credit=4, top_up=True)
    ids = []
    for _ in range(4):
        while up.credit:
            ids.append(up.send(b"x"))
        wire.run()
    assert len(ids) >= 8
    assert ids[:5] == [first, MASK - 1, MASK, 0, 1]
    assert len(all_of(wire.at_server, e.MessageReceived)) == len(ids)
    for one in ids:
        theirs.settle(one)
    assert [one.delivery_id for one in all_of(wire.run()[0], e.DeliverySettled)] == ids


def test_serial_arithmetic():
    """Distances are signed and wrap."""
    assert add(MASK, 1) == 0
    assert add(0, -1) == MASK
    assert [distance(MASK, 1), distance(1, MASK), distance(5, 5), distance(0, 2**31)] == [2, -2, 0, -(2**31)]


def raw_server(**limits):
    """A server with an open session, and a link on which it receives with a credit of 5."""
    wire = Wire(server=limits)
    conn = wire.server
    conn.receive(AMQP_HEADER + encode_frame(0, Open("c")) + encode_frame(0, Begin(None, 0, 100, 100)))
    link = only(
        conn.receive(encode_frame(0, Attach("n", 0, False, initial_delivery_count=0))), e.LinkAttached
    ).link
    link.accept()
    link.grant(5)
    conn.data_to_send()
    return conn, link


SENDER = encode_frame(0, Attach("s", 1, True))
FIRST = encode_frame(0, Transfer(0, 0, b"t", 0, False, more=True), b"part")

SESSION_BREACHES = {
    "transfer on no link": (encode_frame(0, Transfer(7, 0, b"t"), b"x"), c.UNATTACHED_HANDLE),
    "flow on no link": (encode_frame(0, Flow(0, 1, 0, 1, 7)), c.UNATTACHED_HANDLE),
    "transfer to a sender": (SENDER + encode_frame(0, Transfer(1, 0, b"t"), b"x"), c.NOT_ALLOWED),
    "handle in use": (encode_frame(0, Attach("m", 0, True)), c.HANDLE_IN_USE),
    "sender without a count": (encode_frame(0, Attach("m", 1, False)), c.INVALID_FIELD),
    "no delivery id": (encode_frame(0, Transfer(0, None, b"t"), b"x"), c.INVALID_FIELD),
    "no delivery tag": (encode_frame(0, Transfer(0, 0), b"x"), c.INVALID_FIELD),
    "tag too long": (encode_frame(0, Transfer(0, 0, b"t" * 33), b"x"), c.INVALID_FIELD),
    "delivery id again": (encode_frame(0, Transfer(0, 3, b"t"), b"x") * 2, c.INVALID_FIELD),
    "delivery inside another": (FIRST + encode_frame(0, Transfer(0, 1, b"u"), b"x"), c.INVALID_FIELD),
    "range backwards": (encode_frame(0, Disposition(True, 5, 4, True)), c.INVALID_FIELD),
    "attached twice unanswered": (SENDER + encode_frame(0, Attach("s", 2, True)), c.NOT_ALLOWED),
    "transfer before the answer": (
        encode_frame(0, Attach("m", 1, False, initial_delivery_count=0))
        + encode_frame(0, Transfer(1, 0, b"t"), b"x"),
        c.TRANSFER_LIMIT_EXCEEDED,
    ),
    "unfinished messages without end": (
        FIRST + encode_frame(0, Transfer(0, more=True), b"x" * 99),
        c.RESOURCE_LIMIT_EXCEEDED,
    ),
}


@pytest.mark.parametrize("case", SESSION_BREACHES)
def test_session_breach(case):
    """A breach of a session ends that session with the condition, and the connection goes on."""
    raw, condition = SESSION_BREACHES[case]
    conn, link = raw_server(max_partial_bytes=100)
    events = conn.receive(raw + encode_frame(0, Transfer(0, 50, b"z"), b"ignored"))
    ended = only(events, e.SessionEnded)
    assert ended.error.condition == condition
    assert events[-1] is ended
    assert ended.session.state is SessionState.END_SENT
    assert encode_frame(0, End(ended.error)) in conn.data_to_send()
    link.grant(9)
    link.detach()
    assert conn.data_to_send() == b""
    assert conn.receive(encode_frame(0, End())) == []
    only(conn.receive(encode_frame(0, Begin(None, 0, 1, 1))), e.SessionBegun)


def test_window_violation():
    """A peer that overruns the incoming window loses its session."""
    conn, link = raw_server(incoming_window=3)
    link.session.limits = None
    link.session.incoming_window = 0
    events = conn.receive(encode_frame(0, Transfer(0, 0, b"t"), b"x"))
    assert only(events, e.SessionEnded).error.condition == c.WINDOW_VIOLATION


LINK_BREACHES = {
    "no credit left": (
        b"".join(encode_frame(0, Transfer(0, one, b"t"), b"x") for one in range(6)),
        c.TRANSFER_LIMIT_EXCEEDED,
        5,
    ),
    "too large": (encode_frame(0, Transfer(0, 0, b"t"), b"x" * 51), c.MESSAGE_SIZE_EXCEEDED, 0),
    "too large in parts": (
        FIRST + encode_frame(0, Transfer(0, more=True), b"x" * 47),
        c.MESSAGE_SIZE_EXCEEDED,
        0,
    ),
}


@pytest.mark.parametrize("case", LINK_BREACHES)
def test_link_breach(case):
    """A breach of a link detaches it with the condition; what comes on it until its detach is discarded."""
    raw, condition, good = LINK_BREACHES[case]
    conn, link = raw_server(max_message_size=50)
    events = conn.receive(raw + encode_frame(0, Transfer(0, 90, b"z"), b"ignored"))
    assert len([one for one in events if isinstance(one, e.MessageReceived)]) == good
    assert link.state is LinkState.DETACH_SENT
    assert condition.encode() in conn.data_to_send()
    assert only(conn.receive(encode_frame(0, Detach(0, True))), e.LinkDetached).link is link
    assert conn.hold(0)
    assert not conn.closed


def test_detach_of_nothing():
    """A detach for a handle that is not attached is let pass: detaches cross on the wire."""
    conn, _ = raw_server()
    assert conn.receive(encode_frame(0, Detach(77, True))) == []
    assert conn.data_to_send() == b""


def test_aborted_delivery():
    """An aborted delivery never reaches the application, and frees what it held."""
    conn, link = raw_server(max_partial_bytes=10)
    for one in range(3):
        raw = encode_frame(0, Transfer(0, one, b"t", more=True), b"x" * 8) + encode_frame(
            0, Transfer(0, aborted=True)
        )
        assert conn.receive(raw) == []
    raw = encode_frame(0, Transfer(0, 3, b"t", more=True), b"ab") + encode_frame(
        0, Transfer(0, settled=True), b"cd"
    )
    got = only(conn.receive(raw), e.MessageReceived)
    assert (got.payload, got.settled) == (b"abcd", True)
    assert link.credit == 1


def test_ids_may_skip():
    """Delivery ids that rise by more than one are taken: uamqp counts frames."""
    conn, _ = raw_server()
    raw = b"".join(encode_frame(0, Transfer(0, one, b"t"), b"x") for one in (0, 4, 5))
    assert [one.delivery_id for one in all_of(conn.receive(raw), e.MessageReceived)] == [0, 4, 5]


def test_echo():
    """A flow that asks for an echo is answered, of session and of link."""
    conn, _ = raw_server()
    conn.receive(encode_frame(0, Flow(0, 5, 0, 5, echo=True)))
    assert conn.data_to_send() == encode_frame(0, Flow(0, 5000, 0, 2**31 - 1))
    conn.receive(encode_frame(0, Flow(0, 5, 0, 5, 0, 0, 5, echo=True)))
    assert conn.data_to_send() == encode_frame(0, Flow(0, 5000, 0, 2**31 - 1, 0, 0, 5))
    sender = only(conn.receive(SENDER), e.LinkAttached).link
    sender.accept()
    conn.data_to_send()
    conn.receive(encode_frame(0, Flow(0, 5, 0, 5, 1, 0, 7, echo=True)))
    assert conn.data_to_send() == encode_frame(0, Flow(0, 5000, 0, 2**31 - 1, 1, 0, 7, 0))


def test_credit_before_the_answer():
    """Clients send ATTACH and FLOW at once: the credit is there when the application accepts."""
    conn, _ = raw_server()
    events = conn.receive(SENDER + encode_frame(0, Flow(0, 5, 0, 5, 1, None, 7)))
    assert [type(one) for one in events] == [e.LinkAttached, e.CreditGranted]
    link = events[0].link
    with pytest.raises(c.NotAttached):
        link.send(b"x")
    link.accept()
    assert link.credit == 7
    link.send(b"x")


def test_fast_head_is_a_transfer():
    """The head that is put together by hand is the one that the table writes, wide numbers aside."""
    conn, _ = raw_server()
    link = only(conn.receive(SENDER), e.LinkAttached).link
    link.accept()
    conn.receive(encode_frame(0, Flow(0, 5, 0, 5, 1, None, 7)))
    conn.data_to_send()
    link.send(b"payload")
    link.send(b"payload", settled=True)
    fields = b"\x70\x00\x00\x00\x01\x70\x00\x00\x00%b\xa0\x04\x00\x00\x00%b\x43%b\x42\x40\x40\x42\x42\x42"
    frames = [
        b"\x00\x00\x00\x36\x02\x00\x00\x00"[:3] + bytes((8 + 6 + 24 + 7,)) + b"\x02\x00\x00\x00"
        b"\x00\x53\x14\xc0\x19\x0b" + fields % (one, one, settled) + b"payload"
        for one, settled in ((b"\x00", b"\x42"), (b"\x01", b"\x41"))
    ]
    assert conn.data_to_send() == b"".join(frames)


def test_session_flow_is_renewed():
    """The incoming window is opened again when half of it is used up."""
    conn, link = raw_server(incoming_window=6)
    link.grant(100)
    conn.data_to_send()
    for one in range(20):
        assert conn.receive(encode_frame(0, Transfer(0, one, b"t", settled=True), b"x"))
        assert link.session.incoming_window >= 3
    assert conn.data_to_send().count(b"\x00\x53\x13") == 6
