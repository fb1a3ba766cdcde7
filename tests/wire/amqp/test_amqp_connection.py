"""Connections and sessions between two engines on a fake wire."""

import pytest
from amqp_wire import Wire, all_of, only

from iotedge_lab.errors import ProtocolViolation
from iotedge_lab.wire.amqp import events as e
from iotedge_lab.wire.amqp.composite import PERFORMATIVES, decode_composite
from iotedge_lab.wire.amqp.conditions import (
    DECODE_ERROR,
    FRAMING_ERROR,
    INVALID_FIELD,
    NOT_ALLOWED,
    WrongState,
)
from iotedge_lab.wire.amqp.connection import AmqpConnection
from iotedge_lab.wire.amqp.frames import (
    AMQP_HEADER,
    SASL_HEADER,
    TLS_HEADER,
    TYPE_SASL,
    FrameReader,
    empty_frame,
    encode_frame,
)
from iotedge_lab.wire.amqp.performatives import (
    Attach,
    Begin,
    Close,
    Detach,
    End,
    Error,
    Flow,
    Open,
    SaslInitFrame,
    SaslOutcomeFrame,
    Source,
    Transfer,
)
from iotedge_lab.wire.amqp.sasl import SaslCode, encode_plain, parse_plain
from iotedge_lab.wire.amqp.states import (
    CONNECTION_TRANSITIONS,
    LINK_TRANSITIONS,
    SESSION_TRANSITIONS,
    ConnectionState,
    LinkState,
    Role,
    SessionState,
)

OPENING = AMQP_HEADER + encode_frame(0, Open("peer"))


def server(**options):
    return AmqpConnection(role=Role.SERVER, container_id="server", **options)


def sent(conn):
    """What `conn` writes: headers as bytes, frames as performatives."""
    reader = FrameReader(2**20)
    reader.feed(conn.data_to_send())
    found = []
    while (item := reader.next()) is not None:
        if hasattr(item, "raw"):
            found.append(item.raw)
        elif item.body:
            found.append(decode_composite(item.body, 0, PERFORMATIVES)[0])
    return found


@pytest.mark.parametrize("chunk", [0, 1, 3])
def test_sasl_then_open(chunk):
    """SASL, headers and OPEN pass in order, however the bytes are cut."""
    wire = Wire(sasl=True, chunk=chunk)
    wire.client.start()
    at_client, _ = wire.run()
    assert only(at_client, e.SaslMechanisms).mechanisms == ("PLAIN", "ANONYMOUS")
    wire.client.sasl_init("PLAIN", encode_plain("me", "secret"))
    _, at_server = wire.run()
    init = only(at_server, e.SaslInit)
    assert (init.mechanism, init.hostname) == ("PLAIN", "hub")
    assert parse_plain(init.initial_response)[1:] == ("me", "secret")
    assert wire.server.sasl_outcome(SaslCode.OK) == []
    at_client, at_server = wire.run()
    assert only(at_client, e.SaslOutcome).code == 0
    assert only(at_server, e.ConnectionOpened).sasl_mechanism == "PLAIN"
    assert only(at_server, e.ConnectionOpened).hostname == "hub"
    assert only(at_client, e.ConnectionOpened).container_id == "server"


def test_sasl_challenge():
    """A server may ask on before it decides."""
    wire = Wire(sasl=True)
    wire.client.start()
    wire.run()
    wire.client.sasl_init("PLAIN")
    wire.run()
    assert wire.server.sasl_challenge(b"who?") == []
    at_client, _ = wire.run()
    assert only(at_client, e.SaslChallenge).challenge == b"who?"
    wire.client.sasl_response(b"me")
    _, at_server = wire.run()
    assert only(at_server, e.SaslResponse).response == b"me"
    wire.server.sasl_outcome(0)
    _, at_server = wire.run()
    only(at_server, e.ConnectionOpened)


def test_sasl_refused():
    """Any other outcome ends the connection on both sides."""
    wire = Wire(sasl=True)
    wire.client.start()
    wire.run()
    wire.client.sasl_init("ANONYMOUS")
    wire.run()
    assert wire.server.sasl_outcome(SaslCode.AUTH) == [e.ConnectionClosed(None)]
    at_client, _ = wire.run()
    assert at_client == [e.SaslOutcome(1), e.ConnectionClosed(None)]
    assert wire.client.closed
    assert wire.server.closed


def test_sasl_mechanism_not_offered():
    """A mechanism that was not offered fails without asking the application."""
    conn = server()
    events = conn.receive(SASL_HEADER + encode_frame(0, SaslInitFrame("GSSAPI"), kind=TYPE_SASL))
    assert events == [e.ConnectionClosed(None)]
    assert conn.data_to_send().endswith(encode_frame(0, SaslOutcomeFrame(1), kind=TYPE_SASL))


def test_pipelined_behind_sasl():
    """What a client sends without waiting for the outcome is read when the application has decided."""
    conn = server()
    raw = SASL_HEADER + encode_frame(0, SaslInitFrame("ANONYMOUS"), kind=TYPE_SASL) + OPENING
    only(conn.receive(raw), e.SaslInit)
    assert conn.receive(encode_frame(0, Begin(None, 0, 1, 1))) == []
    events = conn.sasl_outcome(0)
    assert [type(one) for one in events] == [e.ConnectionOpened, e.SessionBegun]


def test_flood_behind_sasl_is_bounded():
    """A client cannot fill the memory while its credentials are looked at."""
    conn = server()
    conn.receive(SASL_HEADER + encode_frame(0, SaslInitFrame("ANONYMOUS"), kind=TYPE_SASL))
    events = [one for _ in range(10) for one in conn.receive(bytes(65536))]
    only(events, e.Violation)
    assert conn.closed


def test_sasl_skipped():
    """A peer may begin with AMQP at once, and the event says so; unless SASL is required."""
    conn = server()
    assert only(conn.receive(OPENING), e.ConnectionOpened).sasl_mechanism is None
    strict = server(require_sasl=True)
    only(strict.receive(OPENING), e.Violation)
    assert strict.data_to_send() == SASL_HEADER


@pytest.mark.parametrize(
    ("raw", "answer"),
    [
        (TLS_HEADER, AMQP_HEADER),
        (b"AMQP\x00\x00\x09\x01", AMQP_HEADER),
        (b"GET / HTTP/1.1\r\n\r\n", AMQP_HEADER),
        (AMQP_HEADER + AMQP_HEADER, None),
    ],
)
def test_wrong_header(raw, answer):
    """A header that is not spoken here is answered with one that is, and the connection is over."""
    conn = server()
    assert isinstance(conn.receive(raw)[-1], e.Violation)
    assert conn.closed
    if answer:
        assert conn.data_to_send() == answer


@pytest.mark.parametrize("response", [None, b"", b"a\x00b", b"\x00\xff\x00c", b"a\x00b\x00c\x00d"])
def test_plain_malformed(response):
    """A PLAIN response that is not three texts is a violation."""
    with pytest.raises(ProtocolViolation):
        parse_plain(response)


def test_plain_hides_the_password():
    """Credentials do not show in logs."""
    assert "secret" not in repr(parse_plain(b"\x00me\x00secret"))


def test_open_is_negotiated():
    """Each side learns the other's limits, and frames never exceed the smaller frame size."""
    wire = Wire(client={"max_frame_size": 512, "channel_max": 3}, server={"max_frame_size": 4096})
    wire.opened()
    opened = only(wire.at_server, e.ConnectionOpened)
    assert (opened.max_frame_size, opened.channel_max) == (512, 3)
    assert wire.server.remote_max_frame_size == wire.client.remote_max_frame_size == 512


def test_idle_timeout_and_heartbeat():
    """The peer's idle timeout is told; heartbeats are empty frames."""
    conn = server(idle_timeout_ms=1000)
    conn.heartbeat()
    assert conn.data_to_send() == b""
    events = conn.receive(AMQP_HEADER + encode_frame(0, Open("c", idle_time_out=5000)) + empty_frame())
    assert only(events, e.ConnectionOpened).idle_timeout_ms == conn.remote_idle_timeout_ms == 5000
    only(events, e.Heartbeat)
    assert sent(conn)[1].idle_time_out == 1000
    conn.heartbeat()
    assert conn.data_to_send() == empty_frame()


def test_close_by_either_side():
    """CLOSE is answered with CLOSE; links and sessions end before."""
    for closer in ("client", "server"):
        wire = Wire()
        wire.client_sends(wire.opened())
        getattr(wire, closer).close(Error("amqp:connection:forced", "bye"))
        at_client, at_server = wire.run()
        for events, error in ((at_client, closer == "server"), (at_server, closer == "client")):
            assert [type(one) for one in events] == [e.LinkDetached, e.SessionEnded, e.ConnectionClosed]
            assert (events[-1].error == Error("amqp:connection:forced", "bye")) is error
        assert wire.client.closed
        assert wire.server.closed
        wire.client.close()
        assert wire.client.data_to_send() == b""


def test_frames_after_close_are_ignored():
    """Clients send END or DETACH behind their CLOSE; nobody minds."""
    conn = server()
    conn.receive(OPENING + encode_frame(1, Begin(None, 0, 1, 1)))
    events = conn.receive(encode_frame(0, Close()) + encode_frame(1, End()) + b"rubbish!" * 9)
    assert [type(one) for one in events] == [e.SessionEnded, e.ConnectionClosed]
    assert conn.receive(b"more") == []


def test_stragglers_after_end():
    """DETACH, END, FLOW behind END are let pass on the channel that the peer ended; others are not."""
    conn = server()
    conn.receive(OPENING + encode_frame(1, Begin(None, 0, 1, 1)))
    only(conn.receive(encode_frame(1, End())), e.SessionEnded)
    late = encode_frame(1, Detach(0)) + encode_frame(1, End()) + encode_frame(1, Flow(0, 1, 0, 1))
    assert conn.receive(late) == []
    only(conn.receive(encode_frame(1, Begin(None, 0, 1, 1))), e.SessionBegun)
    conn.receive(encode_frame(1, End()))
    only(conn.receive(encode_frame(1, Transfer(0, 0, b"t"))), e.Violation)


OPEN_BREACHES = {
    "frame before the header": (encode_frame(0, Open("c")), NOT_ALLOWED),
    "begin before open": (AMQP_HEADER + encode_frame(0, Begin(None, 0, 1, 1)), NOT_ALLOWED),
    "open twice": (OPENING + encode_frame(0, Open("c")), NOT_ALLOWED),
    "header twice": (OPENING + AMQP_HEADER, NOT_ALLOWED),
    "frame size below 512": (AMQP_HEADER + encode_frame(0, Open("c", max_frame_size=511)), INVALID_FIELD),
    "not a performative": (OPENING + b"\x00\x00\x00\x0c\x02\x00\x00\x00\x00\x53\x70\x45", DECODE_ERROR),
    "half a performative": (OPENING + b"\x00\x00\x00\x0a\x02\x00\x00\x00\x00\x53", DECODE_ERROR),
    "frame too large": (OPENING + b"\x00\x02\x00\x00\x02\x00\x00\x00", FRAMING_ERROR),
    "channel not begun": (OPENING + encode_frame(4, Detach(0)), NOT_ALLOWED),
    "channel beyond the highest": (OPENING + encode_frame(300, Begin(None, 0, 1, 1)), NOT_ALLOWED),
    "channel begun twice": (OPENING + encode_frame(1, Begin(None, 0, 1, 1)) * 2, NOT_ALLOWED),
    "answer to no begin": (OPENING + encode_frame(1, Begin(7, 0, 1, 1)), NOT_ALLOWED),
    "handle beyond the highest": (
        OPENING + encode_frame(1, Begin(None, 0, 1, 1)) + encode_frame(1, Attach("n", 5000, True)),
        FRAMING_ERROR,
    ),
    "SASL in the middle": (OPENING + encode_frame(0, SaslInitFrame("PLAIN"), kind=TYPE_SASL), NOT_ALLOWED),
}


@pytest.mark.parametrize("case", OPEN_BREACHES)
def test_breach_closes_the_connection(case):
    """A breach ends in a Violation, and CLOSE says why; nothing more is read."""
    raw, condition = OPEN_BREACHES[case]
    for step in (len(raw), 1):
        conn = server()
        events = [one for at in range(0, len(raw), step) for one in conn.receive(raw[at : at + step])]
        assert isinstance(events[-1], e.Violation)
        assert events[-1].condition == condition
        assert conn.closed
        assert conn.receive(OPENING) == []
        if case != "frame before the header":
            frames = sent(conn)
            assert frames[0] == AMQP_HEADER
            assert isinstance(frames[1], Open)
            assert frames[-1].error.condition == condition


def test_events_before_a_breach_are_kept():
    """What was good before the breach is reported before it, and ends in order."""
    conn = server()
    begin = encode_frame(1, Begin(None, 0, 1, 1))
    events = conn.receive(OPENING + begin + encode_frame(1, Attach("n", 0, True)) + begin)
    assert [type(one) for one in events] == [
        e.ConnectionOpened,
        e.SessionBegun,
        e.LinkAttached,
        e.LinkDetached,
        e.SessionEnded,
        e.Violation,
    ]


def test_connection_lost():
    """A lost socket ends everything once; what the application still calls does no harm."""
    wire = Wire()
    sender, receiver = wire.client_sends(wire.opened())
    sender.send(b"x")
    delivery = only(wire.run()[1], e.MessageReceived).delivery_id
    events = wire.server.connection_lost()
    assert [type(one) for one in events] == [e.LinkDetached, e.SessionEnded, e.ConnectionClosed]
    assert wire.server.connection_lost() == []
    assert receiver.settle(delivery) is False
    receiver.grant(5)
    receiver.detach()
    receiver.session.end()
    wire.server.close()
    wire.server.heartbeat()
    assert wire.server.data_to_send() == b""


def test_sessions_are_numbered_and_reused():
    """Channels are given out from 0, ended ones again; the peer answers on the same number."""
    wire = Wire(client={"channel_max": 1})
    first = wire.opened()
    second = wire.client.begin_session()
    wire.run()
    assert [one.channel for one in wire.server.sessions] == [0, 1]
    with pytest.raises(WrongState):
        wire.client.begin_session()
    first.end(Error("x", "y"))
    at_client, at_server = wire.run()
    assert only(at_server, e.SessionEnded).error == Error("x", "y")
    assert only(at_client, e.SessionEnded).session is first
    assert wire.client.begin_session().channel == 0
    wire.run()
    assert second.state is SessionState.MAPPED


def test_calls_out_of_turn():
    """An engine call that makes no sense now says so."""
    wire = Wire(sasl=True)
    with pytest.raises(WrongState):
        wire.client.begin_session()
    with pytest.raises(WrongState):
        wire.server.start()
    wire.client.start()
    with pytest.raises(WrongState):
        wire.client.start()
    for call in (
        lambda: wire.client.sasl_init("PLAIN"),
        lambda: wire.client.sasl_response(b""),
        lambda: wire.server.sasl_outcome(0),
        lambda: wire.server.sasl_challenge(b""),
    ):
        with pytest.raises(WrongState):
            call()
    session = Wire().opened()
    session.end()
    with pytest.raises(WrongState):
        session.attach_receiver("n", source=Source("q"))


def test_a_session_not_begun_cannot_end():
    """A session can be ended when its begin is answered, links attach before."""
    wire = Wire()
    wire.opened()
    session = wire.client.begin_session()
    with pytest.raises(WrongState):
        session.end()
    session.attach_receiver("early", source=Source("q"))
    _, at_server = wire.run()
    assert [type(one) for one in at_server] == [e.SessionBegun, e.LinkAttached]


def test_close_before_open():
    """A connection that is not open yet is simply over."""
    conn = server()
    conn.receive(AMQP_HEADER)
    conn.close(Error("amqp:connection:forced"))
    assert conn.closed
    assert [type(one) for one in sent(conn)[1:]] == [Open, Close]


@pytest.mark.parametrize(
    ("table", "states"),
    [
        (CONNECTION_TRANSITIONS, ConnectionState),
        (SESSION_TRANSITIONS, SessionState),
        (LINK_TRANSITIONS, LinkState),
    ],
)
def test_tables_reach_every_state(table, states):
    """Each state of a table can be reached and, but for the last one, left."""
    start = next(iter(states))
    reached, grown = {start}, True
    while grown:
        after = {table[key] for key in table if key[0] in reached}
        grown = not after <= reached
        reached |= after
    assert reached == set(states)
    assert {state for state, _ in table} >= set(states) - {ConnectionState.END}


def test_repr_is_short():
    """What an engine shows in a notebook is one short line."""
    wire = Wire()
    sender, _ = wire.client_sends(wire.opened())
    assert repr(wire.client) == "<amqp client 'client' opened>"
    assert repr(sender.session) == "<session channel=0 mapped>"
    assert repr(sender) == "<sender link 'up' handle=0 attached>"


def test_all_links_end_before_their_session():
    """Two links, one session: each ends once."""
    wire = Wire()
    session = wire.opened()
    wire.client_sends(session, "a")
    wire.server_sends(session, "b")
    session.end()
    at_client, at_server = wire.run()
    for events in (at_client, at_server):
        assert len(all_of(events, e.LinkDetached)) == 2
        assert isinstance(events[-1], e.SessionEnded)
