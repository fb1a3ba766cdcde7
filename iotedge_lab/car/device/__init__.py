"""What the edge modules have in common, on the device's side of their edge hub, a file a noun.

    settings   a table of settings: by environment variables, and by desired properties over them
    edge       the connection, made again whenever it is lost
    twin       desired properties as they come, reported properties as they change
    outbox     messages on their way, each sent until it is acknowledged
    program    the process: log, signals, exit code

The vendor's SDK is not imported here: the modules make its client and its messages, and hand them in.
"""
