"""MQTT 3.1.1 without input or output: bytes in, events out, for both ends.

Spec: OASIS "MQTT Version 3.1.1", 29 October 2014. Each end is fed with what its connection received and gives
back events and bytes to send; who owns the connection is somebody else's business.

    packets   the packets as values, and the runs that stand for many of them
    encode    packets to bytes
    decode    bytes to packets        (bodies: field by field; runs: the hot path)
    filters   topic names and topic filters
    server    what a server must hold a client to
    client    the other end: packet ids, what is in flight, sending it again

Leaves out what a broker does above the protocol (sessions, retained messages, who may subscribe to what):
that is IoT Hub's, and `broker/` has it.
"""
