"""Two engines on a wire that only the test sees."""

from iotedge_lab.wire.amqp.connection import AmqpConnection
from iotedge_lab.wire.amqp.events import LinkAttached
from iotedge_lab.wire.amqp.limits import Limits
from iotedge_lab.wire.amqp.performatives import Source, Target
from iotedge_lab.wire.amqp.states import Role


class Wire:
    """A client and a server; `run` carries bytes until both are silent, and keeps all events."""

    def __init__(self, client=None, server=None, *, sasl=False, chunk=0):
        self.client = AmqpConnection(
            role=Role.CLIENT,
            container_id="client",
            hostname="hub",
            sasl=sasl,
            limits=Limits(**(client or {})),
        )
        self.server = AmqpConnection(
            role=Role.SERVER,
            container_id="server",
            sasl_mechanisms=("PLAIN", "ANONYMOUS"),
            limits=Limits(**(server or {})),
        )
        self.chunk = chunk
        self.at_client = []
        self.at_server = []
        self.to_server = b""  # all that was sent
        self.to_client = b""

    def run(self):
        """Gives the events of this round: client's, server's."""
        before = len(self.at_client), len(self.at_server)
        while True:
            up, down = self.client.data_to_send(), self.server.data_to_send()
            if not up and not down:
                break
            self.to_server += up
            self.to_client += down
            for end, data, seen in (
                (self.server, up, self.at_server),
                (self.client, down, self.at_client),
            ):
                step = self.chunk or max(1, len(data))
                for start in range(0, len(data), step):
                    seen.extend(end.receive(data[start : start + step]))
        return self.at_client[before[0] :], self.at_server[before[1] :]

    def opened(self):
        """Open the connection and a session; gives the client's session."""
        self.client.start()
        self.run()
        session = self.client.begin_session()
        self.run()
        return session

    def client_sends(self, session, name="up", *, credit=10, top_up=False, **modes):
        """A link from client to server; gives both ends."""
        ours = session.attach_sender(name, target=Target("in"), **modes)
        self.run()
        theirs = self.attached()
        theirs.accept()
        theirs.grant(credit, top_up=top_up)
        self.run()
        return ours, theirs

    def server_sends(self, session, name="down", *, credit=10, top_up=False, snd_settle_mode=None, **modes):
        """A link from server to client; gives the server's end, then the client's."""
        ours = session.attach_receiver(name, source=Source("out"), **modes)
        ours.grant(credit, top_up=top_up)
        self.run()
        theirs = self.attached()
        theirs.accept(snd_settle_mode=snd_settle_mode)
        self.run()
        return theirs, ours

    def attached(self):
        """The link that the client attached last, at the server."""
        return [event.link for event in self.at_server if isinstance(event, LinkAttached)][-1]


def only(events, kind):
    """The one event of `kind`."""
    found = [event for event in events if isinstance(event, kind)]
    assert len(found) == 1, f"{kind.__name__} in {events}"
    return found[0]


def all_of(events, kind):
    """The events of `kind`; at least one."""
    found = [event for event in events if isinstance(event, kind)]
    assert found, f"no {kind.__name__} in {events}"
    return found
