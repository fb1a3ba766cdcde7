"""A recorded exchange, cut and bent in every place: events or a Violation, never another exception."""

import pytest
from amqp_wire import Wire
from hypothesis import given, settings
from hypothesis import strategies as st

from iotedge_lab.wire.amqp import events as e
from iotedge_lab.wire.amqp.connection import AmqpConnection
from iotedge_lab.wire.amqp.frames import encode_frame
from iotedge_lab.wire.amqp.limits import Limits
from iotedge_lab.wire.amqp.performatives import Rejected, Source, Transfer
from iotedge_lab.wire.amqp.states import Role
from iotedge_lab.wire.amqp.types import Described, Symbol

LIMITS = {"max_frame_size": 512}


def exchange(chunk=0):
    """A short but full exchange; gives what client and server sent, and what they were told."""
    wire = Wire(client=LIMITS, server=LIMITS, sasl=True, chunk=chunk)
    wire.client.start()
    wire.run()
    wire.client.sasl_init("PLAIN", b"\x00u\x00p")
    wire.run()
    wire.server.sasl_outcome(0)
    wire.run()
    session = wire.client.begin_session()
    wire.run()
    up, there = wire.client_sends(session, "u", credit=3)
    first = up.send(b"hello" * 110)
    up.send(b"x", settled=True)
    wire.run()
    there.settle(first, Rejected())
    ours = session.attach_receiver(
        "d", source=Source("q", filter={Symbol("f"): Described(Symbol("f"), "x")}), properties={"epoch": 1}
    )
    ours.grant(2)
    wire.run()
    down = wire.attached()
    down.accept()
    ours.settle(down.send(b"y"))
    wire.run()
    up.detach()
    wire.run()
    session.end()
    wire.run()
    wire.client.close()
    wire.run()
    assert isinstance(wire.at_client[-1], e.ConnectionClosed)
    assert isinstance(wire.at_server[-1], e.ConnectionClosed)
    return (
        wire.to_server,
        wire.to_client,
        [repr(one) for one in wire.at_server],
        [repr(one) for one in wire.at_client],
    )


TO_SERVER, TO_CLIENT, AT_SERVER, AT_CLIENT = exchange()


class Application:
    """Does what an application would, with whatever it is told."""

    def __init__(self, role):
        self.conn = AmqpConnection(
            role=role,
            container_id=role.value,
            hostname="hub",
            sasl_mechanisms=("PLAIN",),
            limits=Limits(**LIMITS),
        )
        self.events = []
        self.links = 0
        if role is Role.CLIENT:
            self.conn.start()

    def feed(self, data):
        """Takes the data in pieces, so that the application acts in between as it did in the recording."""
        for start in range(0, len(data), 48):
            self.take(self.conn.receive(data[start : start + 48]))
            self.conn.data_to_send()

    def take(self, events):
        for event in events:
            self.events.append(event)
            self.act(event)

    def act(self, event):
        match event:
            case e.SaslInit() | e.SaslResponse():
                self.take(self.conn.sasl_outcome(0))
            case e.SaslMechanisms():
                self.conn.sasl_init("PLAIN", b"\x00u\x00p")
            case e.ConnectionOpened() if self.conn.role is Role.CLIENT and not self.conn.closed:
                self.conn.begin_session()
            case e.SessionBegun(session) if self.conn.role is Role.CLIENT:
                if not session.links and session.state.value == "mapped":
                    session.attach_receiver("d", source=Source("q")).grant(5)
            case e.LinkAttached(link):
                link.accept()
                if not link.is_sender:
                    link.grant(3)
            case e.CreditGranted(link):
                while link.credit and self.links < 50:
                    self.links += 1
                    link.send(b"y" * 600)
                link.drained()
            case e.MessageReceived():
                event.link.settle(event.delivery_id)
            case _:
                pass


def check(app):
    """The promises of events.py hold."""
    ends = [one for one in app.events if isinstance(one, (e.Violation, e.ConnectionClosed))]
    assert len(ends) <= 1
    if not app.conn.closed:
        app.take(app.conn.connection_lost())
    begun = [one.session for one in app.events if isinstance(one, e.SessionBegun)]
    ended = [one.session for one in app.events if isinstance(one, e.SessionEnded)]
    assert set(begun) <= set(ended)
    assert len(set(ended)) == len(ended)
    attached = [one.link for one in app.events if isinstance(one, (e.LinkAttached, e.LinkConfirmed))]
    detached = [one.link for one in app.events if isinstance(one, e.LinkDetached)]
    assert set(attached) <= set(detached)
    assert len(set(detached)) == len(detached)
    assert isinstance(app.events[-1], (e.Violation, e.ConnectionClosed))
    assert app.conn.receive(b"more") == []


SIDES = pytest.mark.parametrize(("role", "raw"), [(Role.SERVER, TO_SERVER), (Role.CLIENT, TO_CLIENT)])


def test_the_exchange_is_worth_bending():
    """The recording holds every performative and stays short."""
    both = TO_SERVER + TO_CLIENT
    assert all(b"\x00\x53" + bytes((code,)) in both for code in (*range(0x10, 0x19), 0x40, 0x41, 0x44))
    assert 500 < len(TO_SERVER) < 3000
    assert 300 < len(TO_CLIENT) < 3000


@pytest.mark.parametrize("chunk", [1, 2, 5, 64])
def test_any_cut_gives_the_same(chunk):
    """However the bytes are cut, both ends tell and write the same."""
    assert exchange(chunk) == (TO_SERVER, TO_CLIENT, AT_SERVER, AT_CLIENT)
    assert any("MessageReceived" in one for one in AT_SERVER)


@SIDES
def test_every_prefix(role, raw):
    """A recording that ends anywhere gives events, and a lost connection ends them."""
    for end in range(len(raw)):
        app = Application(role)
        app.feed(raw[:end])
        check(app)


@SIDES
@pytest.mark.parametrize("mask", [0x01, 0x80, 0xFF, 0x13])
def test_every_byte_bent(role, raw, mask):
    """A recording with any byte changed gives events or a Violation."""
    violations = 0
    for at in range(len(raw)):
        app = Application(role)
        app.feed(raw[:at] + bytes((raw[at] ^ mask,)) + raw[at + 1 :])
        violations += app.conn.closed and any(isinstance(one, e.Violation) for one in app.events)
        check(app)
    assert violations > 50


@SIDES
def test_bytes_missing_and_doubled(role, raw):
    """A recording with a byte left out or twice gives events or a Violation."""
    for at in range(0, len(raw), 5):
        for bent in (raw[:at] + raw[at + 1 :], raw[: at + 1] + raw[at:]):
            app = Application(role)
            app.feed(bent)
            check(app)


@settings(max_examples=200, deadline=None)
@given(
    start=st.sampled_from(range(len(TO_SERVER))),
    noise=st.lists(st.binary(max_size=40), max_size=4),
)
def test_noise(start, noise):
    """Noise behind any part of the recording gives events or a Violation."""
    app = Application(Role.SERVER)
    app.feed(TO_SERVER[:start])
    for piece in noise:
        app.feed(piece)
    check(app)


@settings(max_examples=150, deadline=None)
@given(st.permutations(range(8)), st.data())
def test_frames_out_of_order(order, data):
    """Whole frames in any order give events or a Violation."""
    frames, at = [], TO_SERVER.rindex(b"AMQP") + 8
    opening, rest = TO_SERVER[:at], TO_SERVER[at:]
    while rest:
        size = int.from_bytes(rest[:4])
        frames.append(rest[:size])
        rest = rest[size:]
    assert len(frames) >= 10
    app = Application(Role.SERVER)
    app.feed(opening + frames[0] + frames[1])
    for one in order:
        app.feed(frames[2 + one % (len(frames) - 2)] * data.draw(st.integers(1, 2)))
    check(app)


def test_memory_is_bounded():
    """Links that begin messages and never end them share one limit; the session that passes it ends."""
    wire = Wire(server={"max_partial_bytes": 3000})
    session = wire.opened()
    links = [wire.client_sends(session, str(one))[0] for one in range(5)]
    for number, link in enumerate(links):
        transfer = Transfer(link.local_handle, number, b"t", more=True)
        wire.server.receive(encode_frame(0, transfer, b"x" * 1000))
        assert wire.server.hold(0) is True
        assert len(wire.server.sessions[0].links) == (5 if number < 3 else 0)
    assert wire.server.hold(3000) is True
    assert wire.server.hold(1) is False
