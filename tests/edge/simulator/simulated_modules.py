"""Module folders made for a test: programs over the vendor's SDK, which the simulator's tests run."""

import textwrap

# Sends on what comes to an input, to the output of that name; and the desired properties whenever it learns them.
MIRROR = """
    import json, os, signal
    from azure.iot.device import IoTHubModuleClient, Message, MethodResponse

    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    client = IoTHubModuleClient.create_from_edge_environment()

    def mirror(message):
        copy = Message(message.data, message.message_id)
        copy.custom_properties = dict(message.custom_properties)
        client.send_message_to_output(copy, message.input_name)

    def told(desired):
        client.send_message_to_output(Message(json.dumps(desired)), "twin")

    def called(request):
        client.send_method_response(MethodResponse.create_from_method_request(request, 200, [request.payload]))

    client.on_message_received = mirror
    client.on_twin_desired_properties_patch_received = told
    client.on_method_request_received = called
    client.connect()
    client.patch_twin_reported_properties({"mirror": True})
    told(client.get_twin()["desired"])
    print("ready")
    signal.pause()
"""
# Sends where no route leads.
LOST = """
    import signal
    from azure.iot.device import IoTHubModuleClient

    client = IoTHubModuleClient.create_from_edge_environment()
    client.connect()
    client.send_message("to no output")
    print("sent")
    signal.pause()
"""
BROKEN = """
    import sys
    print("about to break")
    sys.stdout.flush()
    raise RuntimeError("input-echo is not an output")
"""


def module(root, code, name="Module"):
    """The folder of a module with this `main.py`."""
    folder = root / name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "main.py").write_text(textwrap.dedent(code))
    return folder
