"""A module that does with the stock SDK what a test says, over a socket: online, offline, synchronous or not.

`PUPPET=aio` has it use the asynchronous client, `WEBSOCKETS=1` MQTT over WebSocket.
"""

import asyncio
import contextlib
import json
import os
import signal
import socketserver
import sys
import threading
import time
from pathlib import Path

from azure.iot.device import Message, MethodResponse

AIO = os.environ.get("PUPPET") == "aio"
NEWS = threading.Condition()
GOT = {"inputs": [], "patches": [], "calls": []}
LOOP = asyncio.new_event_loop() if AIO else None


def note(kind, what):
    with NEWS:
        GOT[kind].append(what)
        NEWS.notify_all()


def done(result):
    """What a call of either client gives."""
    if asyncio.iscoroutine(result):
        return asyncio.run_coroutine_threadsafe(result, LOOP).result(60)
    return result


def handler(function):
    """A handler as either client wants it."""
    if not AIO:
        return function

    async def handle(given):
        function(given)

    return handle


def took(message):
    properties = dict(message.custom_properties)
    note(
        "inputs",
        {
            "input": message.input_name,
            "body": message.data.decode("utf-8", "replace"),
            "properties": properties,
            "id": message.message_id,
            "type": message.content_type,
        },
    )


def called(request):
    note("calls", {"name": request.name, "payload": request.payload})
    if request.name == "silent":
        return
    answer = MethodResponse.create_from_method_request(request, 203, {"echo": request.payload})
    if AIO:
        asyncio.run_coroutine_threadsafe(CLIENT.send_method_response(answer), LOOP)
    else:
        CLIENT.send_method_response(answer)


def send(output, bodies, properties=None, json_body=False, **system):
    for body in bodies:
        message = Message(body)
        message.custom_properties = dict(properties or {})
        if json_body:
            message.content_type, message.content_encoding = "application/json", "utf-8"
        for name, value in system.items():
            setattr(message, name, value)
        done(CLIENT.send_message_to_output(message, output))
    return len(bodies)


def wait(kind, count, seconds):
    with NEWS:
        NEWS.wait_for(lambda: len(GOT[kind]) >= count, seconds)
        return GOT[kind]


def leave(code):
    os._exit(code)


OPERATIONS = {
    "send": send,
    "wait": wait,
    "forget": lambda: [found.clear() for found in GOT.values()] and None,
    "twin": lambda: done(CLIENT.get_twin()),
    "report": lambda patch: done(CLIENT.patch_twin_reported_properties(patch)),
    "invoke": lambda method, device, module=None: done(CLIENT.invoke_method(method, device, module)),
    "environment": lambda: dict(os.environ),
    "print": lambda text: print(text, flush=True),
    "exit": leave,
    "pid": os.getpid,
}


class Session(socketserver.StreamRequestHandler):
    """One conversation with a test."""

    def handle(self):
        for line in self.rfile:
            name, arguments = json.loads(line)
            try:
                answer = [True, OPERATIONS[name](**arguments)]
            except Exception as error:  # noqa: BLE001 - the test gets it
                answer = [False, f"{type(error).__name__}: {error} ({error.__cause__})"]
            self.wfile.write(json.dumps(answer, default=str).encode() + b"\n")


def connect():
    """A connected client with its handlers; the edge hub may be away for a moment."""
    if AIO:
        from azure.iot.device.aio import IoTHubModuleClient
    else:
        from azure.iot.device import IoTHubModuleClient
    while True:
        client = IoTHubModuleClient.create_from_edge_environment(websockets="WEBSOCKETS" in os.environ)
        try:
            done(client.connect())
        except Exception as error:  # noqa: BLE001 - whatever it is, it is tried again
            print(f"not connected: {error!r}", flush=True)
            done(client.shutdown())
            time.sleep(0.5)
        else:
            client.on_message_received = handler(took)
            client.on_twin_desired_properties_patch_received = handler(lambda patch: note("patches", patch))
            client.on_method_request_received = handler(called)
            return client


STOP = threading.Event()
signal.signal(signal.SIGTERM, lambda *_: STOP.set())
if AIO:
    threading.Thread(target=LOOP.run_forever, daemon=True).start()
CLIENT = connect()
server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Session)
server.daemon_threads = True
threading.Thread(target=server.serve_forever, daemon=True).start()
beside = Path("port.new")
beside.write_text(f"{os.getpid()} {server.server_address[1]}")
beside.replace("port")
print("ready", flush=True)
STOP.wait()
with contextlib.suppress(Exception):
    done(CLIENT.shutdown())
sys.exit(0)
