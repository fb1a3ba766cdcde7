# %% [markdown]
# # 02 IoT Hub setup
#
# A hub, a car and an edge device: every way in which they talk, and a first module, deployed from afar.
#
# **You will**
#
# - open a hub and register two devices, one of them edge-enabled
# - send a message, set a car's pace through its twin, call a method, leave orders for a sleeping car
# - start the edge runtime from nothing but a connection string, and deploy EchoModule to it
# - add a second module, and a route that passes warnings only
# - cut the edge off, as a ship in mid-ocean is, and see what was sent meanwhile arrive
#
# **Before you start**: `make lab` has installed everything and opened this page. About 60 minutes.
# Works offline: yes.

# %%
import json
import queue
import threading
import time
from copy import deepcopy
from datetime import UTC, datetime

from azure.eventhub import EventHubConsumerClient
from azure.iot.device import IoTHubDeviceClient, Message, MethodResponse
from azure.iot.hub import IoTHubConfigurationManager, IoTHubRegistryManager
from azure.iot.hub.models import CloudToDeviceMethod, ConfigurationContent
from azure.iot.hub.models import Twin, TwinProperties
from msrest.exceptions import HttpOperationError

from iotedge_lab import Lab
from iotedge_lab.show import arrivals, code, documents, edge_view, plots
from iotedge_lab.show.exercises import edge_deployment
from iotedge_lab.show.exercises import iot_hub_setup as exercise

# %% [markdown]
# ## A hub
#
# `azure.*` is Microsoft's own SDK, unchanged; `iotedge_lab` runs a hub here, shows and checks.
#
# > **On Azure** this takes minutes and a subscription; the free tier `F1` takes 8,000 messages a day from 500
# > devices. Set `IOTHUB_CONNECTION_STRING` and `EVENTHUB_CONNECTION_STRING` to it, and the cells below run there.
# > A box like this holds the `az` line of a step:
# > ```bash
# > az iot hub create --name HUB --resource-group GROUP --sku F1 --partition-count 2
# > ```

# %%
lab = Lab.open()
lab.activate()
lab.reset()
lab

# %% [markdown]
# ## Two identities
#
# A hub speaks only to devices in its registry. `edge-1` will carry the edge runtime; `car-1` is a plain device, and
# for now talks to the hub itself. The tag is for `lab.reset()`, which on Azure deletes tagged devices only.
#
# > ```bash
# > az iot hub device-identity create --hub-name HUB --device-id edge-1 --edge-enabled
# > ```
#
# **Predict:** you name a device. What will the hub add?

# %%
registry = IoTHubRegistryManager.from_connection_string(lab.service_connection_string)


# %%
def register(device_id, **options):
    """Register a device with keys that the hub makes up, and tag it as the lab's."""
    registry.create_device_with_sas(device_id, None, None, "enabled", **options)
    registry.update_twin(device_id, Twin(tags={"iotedgeLab": True}))
    return registry.get_device(device_id)


# %%
documents.identity(register("edge-1", iot_edge=True))

# %% [markdown]
# **What just happened?** The hub made two keys (shown as `***`: so that one can be replaced while the other still
# works), a generation id that tells a re-created device from its predecessor, and a `deviceScope`, by which other
# devices may become its children. It also made identities for the runtime's own two modules:

# %%
sorted(module.module_id for module in registry.get_modules("edge-1"))

# %% [markdown]
# `car-1` becomes a child of `edge-1`, by its scope. What a device needs in order to connect is one line, its
# connection string. Whoever has the key *is* the device, so never print it whole, and never commit it.
#
# > ```bash
# > az iot hub device-identity connection-string show --hub-name HUB --device-id car-1
# > ```

# %%
register("car-1", device_scope=registry.get_device("edge-1").device_scope)
connection_string = lab.device_connection_string("car-1")
documents.connection_string(connection_string)

# %%
car = IoTHubDeviceClient.create_from_connection_string(
    connection_string, **lab.client_options
)
car.connect()

# %%
registry.get_device("car-1").connection_state

# %% [markdown]
# That was MQTT over TLS, on port 8883. On Azure `connectionState` may lag behind by minutes: use it to look around,
# not to decide.
#
# ## From device to cloud
#
# First the cloud's ear: the SDK calls `on_events` with what has come, **on a thread of its own**. Such a handler puts
# things on a queue and never prints.
#
# > ```bash
# > az iot hub monitor-events --hub-name HUB
# > ```

# %%
consumer = EventHubConsumerClient.from_connection_string(
    lab.events_connection_string,
    consumer_group="$Default",
    eventhub_name=lab.events_name,
)

# %%
arrived = queue.Queue()


def on_events(partition, events):
    """Called by the SDK with some events at a time: keeps them, prints nothing."""
    for event in events:
        arrived.put(event)


# %%
monitor = threading.Thread(
    target=consumer.receive_batch,
    args=(on_events,),
    kwargs={"starting_position": datetime.now(UTC)},
    daemon=True,
)
monitor.start()

# %% [markdown]
# Then the car's voice. `send_message` returns once the hub has stored the message.
#
# > ```bash
# > az iot device send-d2c-message --hub-name HUB --device-id car-1 \
# >   --data '{"speed": 30}'
# > ```

# %%
body = json.dumps({"speed": 30})
car.send_message(Message(body, content_encoding="utf-8", content_type="application/json"))
arrivals.line(arrived.get(timeout=30))

# %% [markdown]
# **What just happened?** The hub put it into its *built-in endpoint*, a log for many readers, and wrote the sender on
# it: no device can pose as another.
#
# ## The twin
#
# A *twin* is a device's JSON document at the hub: what the cloud *desires* of it (it is told at once) and what it
# *reports*.
#
# > ```bash
# > az iot hub device-twin update --hub-name HUB --device-id car-1 \
# >   --desired '{"telemetryInterval": 0.5}'
# > ```

# %%
def desire(device_id, **properties):
    """The cloud's wish for a device: a patch of its twin's desired properties."""
    wish = Twin(properties=TwinProperties(desired=properties))
    registry.update_twin(device_id, wish)


# %%
patches = queue.Queue()
car.on_twin_desired_properties_patch_received = patches.put
desire("car-1", telemetryInterval=0.5)
patches.get(timeout=30)

# %% [markdown]
# ### Exercise 1: let the cloud set the pace
#
# The car is to obey: `telemetryInterval` is the pause between two messages, in seconds. Write what it makes of a
# patch. One without the property, or with what is no positive number, changes nothing: a slip in the cloud must not
# stop a car.


# %% exercise="next_interval"
def next_interval(patch, current):
    """The interval (s) that holds after a patch of the desired properties."""
    # >>> solution
    # stub: asked = patch.get("telemetryInterval")
    # stub: return ...
    asked = patch.get("telemetryInterval")
    if isinstance(asked, int | float) and asked > 0:
        return asked
    return current
    # <<< solution


# >>> check
exercise.check_next_interval(next_interval)

# %% [markdown]
# Now the car sends twenty messages, half a second apart. After two seconds somebody in the cloud wants it five times
# as fast. **Predict:** what will the messages' numbers over time look like?

# %%
threading.Timer(2, desire, ["car-1"], {"telemetryInterval": 0.1}).start()

interval = 0.5
for number in range(20):
    car.send_message(json.dumps({"number": number}))
    time.sleep(interval)
    while not patches.empty():
        interval = next_interval(patches.get(), interval)
car.patch_twin_reported_properties({"telemetryInterval": interval})

# %%
events = [arrived.get(timeout=30) for _ in range(20)]
plots.arrivals([event.enqueued_time for event in events])

# %% [markdown]
# The knee is where the patch arrived. At the end the car *reported* what it does now, so that the cloud can compare:
#
# > ```bash
# > az iot hub device-twin show --hub-name HUB --device-id car-1
# > ```

# %%
documents.twin(registry.get_twin("car-1"))

# %% [markdown]
# **What just happened?** Desired and reported agree. After an absence a device asks: `car.get_twin()`.
#
# ## A direct method
#
# The cloud calls, the device answers.
#
# ### Exercise 2: do it, or say why not
#
# To `flashLights` with `{"times": 3}` answer `200` and `{"flashed": 3}`. Unless `times` is a whole number from 1
# to 10, answer `400` and `{"error": "..."}`.


# %% exercise="answer"
def answer(method, payload):
    """The status and the payload that the car answers to a direct method."""
    if method != "flashLights":
        return 404, {"error": f"this car has no method {method}"}
    # >>> solution
    # stub: ...  # hint: the payload may be anything, None too
    times = payload.get("times") if isinstance(payload, dict) else None
    if times not in range(1, 11):
        return 400, {"error": "times is a whole number from 1 to 10"}
    return 200, {"flashed": times}
    # <<< solution


# >>> check
exercise.check_answer(answer)

# %% [markdown]
# The handler runs on the SDK's thread and sends the answer; the caller waits for it.
#
# > ```bash
# > az iot hub invoke-device-method --hub-name HUB --device-id car-1 \
# >   --method-name flashLights --method-payload '{"times": 3}'
# > ```

# %%
def on_method(request):
    """Called by the SDK for each direct method: answers it, prints nothing."""
    status, payload = answer(request.name, request.payload)
    response = MethodResponse.create_from_method_request(request, status, payload)
    car.send_method_response(response)


# %%
car.on_method_request_received = on_method
for payload in ({"times": 3}, {"times": "many"}):
    call = CloudToDeviceMethod(method_name="flashLights", payload=payload)
    result = registry.invoke_device_method("car-1", call)
    print(result.status, result.payload)

# %% [markdown]
# A `400` is the *device's* word, and the call succeeded. **Predict:** who answers when the car is away, and with what?

# %%
car.disconnect()
try:
    registry.invoke_device_method("car-1", call)
except HttpOperationError as error:
    display(documents.refusal(error))

# %% [markdown]
# **What just happened?** The hub itself refused, with HTTP status 404 and the code `404103`. It keeps no method for
# later: a method is for now.
#
# ## Cloud to device: an order that can wait
#
# A cloud-to-device message waits in the hub, for an hour unless it says otherwise, until the device fetches it.
#
# > ```bash
# > az iot device c2d-message send --hub-name HUB --device-id car-1 --data 'Come home'
# > ```

# %%
registry.send_c2d_message("car-1", "Come home")
device = registry.get_device("car-1")
print(f"{device.connection_state}, {device.cloud_to_device_message_count} order waiting")

# %%
orders = queue.Queue()
car.connect()
car.on_message_received = orders.put
print(orders.get(timeout=30).data.decode())

# %% [markdown]
# ### Exercise 3: some orders are urgent
#
# Send an order to `car-1`, the text as it is. An urgent one carries the property `priority` with the value `high`,
# any other carries no property. `registry.send_c2d_message` takes a dictionary as `properties=`.


# %% exercise="send_order"
def send_order(registry, text, urgent):
    """Send an order to car-1; an urgent one carries a property that says so."""
    # >>> solution
    # stub: ...  # hint: registry.send_c2d_message("car-1", ...)
    properties = {"priority": "high"} if urgent else {}
    registry.send_c2d_message("car-1", text, properties=properties)
    # <<< solution


# >>> check
exercise.check_send_order(send_order)

# %% [markdown]
# The car sleeps again, two orders come in, the car wakes up. **Predict:** does it have to subscribe once more? In
# which order will they come?

# %%
car.disconnect()
send_order(registry, "Take the next exit", urgent=False)
send_order(registry, "Stop", urgent=True)
car.connect()
for _ in range(2):
    order = orders.get(timeout=30)
    print(order.data.decode(), order.custom_properties)

# %% [markdown]
# **What just happened?** The hub remembers a device's subscriptions and hands out what has waited, oldest first. An
# order is gone once the car has said "received", which the SDK does by itself:

# %%
registry.get_device("car-1").cloud_to_device_message_count

# %% [markdown]
# Those are the four ways:
#
# | | for | device away? |
# |---|---|---|
# | device to cloud | telemetry | the device keeps it and sends it again |
# | twin | state that both sides agree on | kept; asked for on return |
# | direct method | a command that needs an answer now | refused, `404103` |
# | cloud to device | an order that can wait | kept in a queue, 50 at the most |

# %%
car.shutdown()

# %% [markdown]
# ## An edge device
#
# `edge-1` is a name in a registry so far. A *runtime* makes a device of it. All that it is given is the device's
# connection string; what to run it asks the hub.
#
# > On a machine of yours, which is then the edge device:
# > ```bash
# > sudo iotedge config mp --connection-string 'HostName=...;DeviceId=edge-1;...'
# > sudo iotedge config apply
# > ```
#
# **Predict:** which modules will it run?

# %%
edge = lab.edge("edge-1")
edge.wait_until_connected()

# %% [markdown]
# **What just happened?** The runtime has two modules of its own: `$edgeAgent` starts and stops others, `$edgeHub`
# takes their messages. Nothing is deployed yet: that is what the portal says by `417`.
#
# ## A module
#
# EchoModule is an ordinary program on the device SDK. How it connects, and how it sends:

# %%
code.excerpt("EchoModule", "EchoModule.connected", "EchoModule.send")

# %% [markdown]
# It names neither hub nor key: those come from the edge. It names its output (`OUTPUT` is `output-echo`), and not who
# gets what comes out.
#
# ## A deployment manifest
#
# A manifest says which modules run, and where their messages go. Each `image` is a container's on Azure; here a
# table leads from its name to the program.


# %%
def module(image, **variables):
    """A module of a manifest, with environment variables."""
    return {
        "version": "1.0",
        "type": "docker",
        "status": "running",
        "restartPolicy": "always",
        "settings": {"image": image, "createOptions": "{}"},
        "env": {name: {"value": value} for name, value in variables.items()},
    }


ECHO_IMAGE = "localhost:5000/echomodule:0.0.1"
RUNTIME = {
    "edgeAgent": module("mcr.microsoft.com/azureiotedge-agent:1.5"),
    "edgeHub": module("mcr.microsoft.com/azureiotedge-hub:1.5"),
}

# %% [markdown]
# The 2019 blog's manifest: EchoModule, told to tell the time every second, and one *route*. A route takes messages
# `FROM` a sender `INTO` a receiver; `$upstream` is the hub. What cannot get there yet is kept for `timeToLiveSecs`.

# %%
manifest = {
    "$edgeAgent": {
        "properties.desired": {
            "schemaVersion": "1.1",
            "runtime": {"type": "docker", "settings": {"minDockerVersion": "v1.25"}},
            "systemModules": RUNTIME,
            "modules": {"EchoModule": module(ECHO_IMAGE, ECHO_INTERVAL="1")},
        }
    },
    "$edgeHub": {
        "properties.desired": {
            "schemaVersion": "1.1",
            "routes": {
                "EchoToHub": "FROM /messages/modules/EchoModule/outputs/* INTO $upstream"
            },
            "storeAndForwardConfiguration": {"timeToLiveSecs": 7200},
        }
    },
}

# %% [markdown]
# It goes to the hub, not to the device.
#
# > ```bash
# > az iot edge set-modules --hub-name HUB --device-id edge-1 --content deployment.json
# > ```
#
# **Predict:** by which of the four ways will the edge device hear of it?

# %%
deployments = IoTHubConfigurationManager.from_connection_string(
    lab.service_connection_string
)


def deploy(manifest):
    """Have edge-1 run what a manifest says."""
    content = ConfigurationContent(modules_content=manifest)
    deployments.apply_configuration_on_edge_device("edge-1", content)


# %%
deploy(manifest)
edge.wait_until_running("EchoModule")

# %% [markdown]
# **What just happened?** The manifest is *desired properties*, of the twin of `$edgeAgent` and of `$edgeHub`. They
# were told at once, as the car was, and `$edgeAgent` started what was missing. What runs it *reports*, and the portal
# shows this table.
#
# And the messages? Everything arrives at one endpoint, so ask for a sender:


# %%
def next_from(sender):
    """The next message of one sender; those of others are passed over."""
    while True:
        event = arrived.get(timeout=30)
        if arrivals.sender(event) == sender:
            return event


# %%
for _ in range(3):
    print(arrivals.line(next_from("edge-1/EchoModule")))

# %% [markdown]
# ## Ask the agent
#
# `$edgeAgent` answers direct methods. `ping` says whether it can be reached, `GetModuleLogs` shows a module's log
# from afar, the last three lines here.
#
# > ```bash
# > az iot hub invoke-module-method --hub-name HUB --device-id edge-1 \
# >   --module-id '$edgeAgent' --method-name ping
# > ```


# %%
def ask_agent(method, payload=None):
    """Call a direct method of edge-1's agent."""
    call = CloudToDeviceMethod(method_name=method, payload=payload)
    return registry.invoke_device_module_method("edge-1", "$edgeAgent", call)


# %%
ask_agent("ping").status

# %%
last_lines = {
    "schemaVersion": "1.0",
    "encoding": "none",
    "contentType": "text",
    "items": [{"id": "EchoModule", "filter": {"tail": 3}}],
}

# %%
print(ask_agent("GetModuleLogs", last_lines).payload[0]["payload"])

# %% [markdown]
# A module has a twin too. EchoModule takes the desired property `interval`, and reports the one in force.
#
# > ```bash
# > az iot hub module-twin update --hub-name HUB --device-id edge-1 \
# >   --module-id EchoModule --desired '{"interval": 0.25}'
# > ```
#
# **Predict:** the manifest said one second. Which of the two counts now?

# %%
wish = Twin(properties=TwinProperties(desired={"interval": 0.25}))
arrived.queue.clear()  # what came meanwhile
events = [next_from("edge-1/EchoModule") for _ in range(3)]
registry.update_module_twin("edge-1", "EchoModule", wish)
events += [next_from("edge-1/EchoModule") for _ in range(8)]

# %%
plots.arrivals([event.enqueued_time for event in events])

# %%
documents.twin(registry.get_module_twin("edge-1", "EchoModule"))

# %% [markdown]
# **What just happened?** The environment is for the start, the twin for a running module, without a new start.
#
# ### Exercise 4: a second module
#
# Add `EchoModule2`: the same image, an `ECHO_INTERVAL` of an hour. It gets what EchoModule sends, at its input
# `input-echo`; the hub gets what *both* send.


# %% exercise="add_module"
def add_module(manifest):
    """Add EchoModule2 to a manifest: it echoes what EchoModule sends."""
    modules = manifest["$edgeAgent"]["properties.desired"]["modules"]
    routes = manifest["$edgeHub"]["properties.desired"]["routes"]
    # >>> solution
    # stub: modules["EchoModule2"] = ...
    # stub: routes["EchoToEcho2"] = ...  # INTO BrokeredEndpoint("/modules/X/inputs/Y")
    modules["EchoModule2"] = module(ECHO_IMAGE, ECHO_INTERVAL="3600")
    first, second = "/messages/modules/EchoModule/*", "/messages/modules/EchoModule2/*"
    its_input = "/modules/EchoModule2/inputs/input-echo"
    routes["EchoToEcho2"] = f'FROM {first} INTO BrokeredEndpoint("{its_input}")'
    routes["Echo2ToHub"] = f"FROM {second} INTO $upstream"
    # <<< solution
    return manifest


# >>> check
edge_deployment.check_add_module(add_module, manifest)

# %%
deploy(add_module(deepcopy(manifest)))
edge.wait_until_running("EchoModule", "EchoModule2")

# %% [markdown]
# `EchoModule` was left alone: a deployment changes what differs. **Predict:** how often does each of its messages
# reach the hub now?

# %%
heard = {}
while True:
    event = arrived.get(timeout=30)
    same = heard.setdefault(event.body_as_str(), [])
    same.append(event)
    if len(same) == 2:
        break
for event in sorted(same, key=arrivals.sender):
    print(arrivals.line(event))

# %% [markdown]
# Twice: once from its author, once from the echo. Modules never call each other; the routes join them, and a new
# deployment joins them anew.
#
# ## A car behind the edge
#
# A child of `edge-1` may talk to it instead of the hub: the same connection string, and where the gateway is.

# %%
car = IoTHubDeviceClient.create_from_connection_string(
    f"{connection_string};GatewayHostName={edge.gateway}"
)
car.connect()


# %%
def say(text, level):
    """A message of the car's, with a property that says how grave it is."""
    message = Message(text)
    message.custom_properties["level"] = level
    car.send_message(message)


# %% [markdown]
# ### Exercise 5: warnings only
#
# The routes so far begin at modules, so none takes the car's messages, and they would be dropped. Write a route that
# takes anybody's messages (`/messages/*`) to the hub, if their property `level` is `warning`.

# %% exercise="warnings_route"
# >>> solution
# stub: WARNINGS = ...  # "FROM ... WHERE ... INTO ..."
WARNINGS = "FROM /messages/* WHERE level = 'warning' INTO $upstream"
# <<< solution

# >>> check
edge_deployment.check_route(WARNINGS)

# %% [markdown]
# It becomes the only route. **Predict:** two messages of the car, and EchoModule goes on. What reaches the hub?

# %%
quiet = deepcopy(manifest)
quiet["$edgeHub"]["properties.desired"]["routes"] = {"WarningsToHub": WARNINGS}
deploy(quiet)
now = edge.wait_until(lambda now: "WarningsToHub" in now.raw["routes"], "the new route")
now.raw["routes"]

# %%
say("all is well", level="info")
say("the engine is hot", level="warning")
print(arrivals.line(next_from("car-1")))

# %% [markdown]
# **What just happened?** The edge acknowledged both; one had a route. And what the manifest no longer names is gone:

# %%
edge.wait_until(lambda now: list(now.modules) == ["EchoModule"], "the end of EchoModule2")

# %% [markdown]
# ## Mid-ocean
#
# `edge.offline()` really closes the sockets to the hub, `edge.online()` lets the device back. The switch below does the
# same. Try it, leave the device online, and keep an eye on the view while the next cells run.

# %%
view = edge_view.watch(edge)
view

# %% [markdown]
# ### Exercise 6: the ship comes back
#
# Send all texts while the edge is cut off. How many messages wait there (`edge.status().waiting`) before you let it
# back with `edge.online()`?


# %% exercise="sail"
def sail(edge, send, texts):
    """Send texts while the edge is offline; how many messages waited there."""
    # >>> solution
    # stub: waiting = ...
    edge.offline()
    for text in texts:
        send(text)
    waiting = edge.status().waiting
    edge.online()
    # <<< solution
    return waiting


# >>> check
edge_deployment.check_sail(sail)

# %% [markdown]
# **Predict:** `send_message` returns once somebody has acknowledged. Will it return out there? And in which order
# will the hub have the three?

# %%
TEXTS = ["fog", "a whale", "land"]
print(sail(edge, lambda text: say(text, level="warning"), TEXTS), "messages waited")
heard = [next_from("car-1") for _ in TEXTS]
print(*map(arrivals.line, heard), sep="\n")

# %%
assert [event.body_as_str() for event in heard] == TEXTS, "not what was sent, in its order"

# %% [markdown]
# **What just happened?** *Store and forward*: the edge stored each message on disk, and only then acknowledged it to
# the car. When the link came back, it sent them on, oldest first. A car that talks to the hub itself would have had
# to keep them. The view once more, as a table that stays:

# %% tags=["nbval-ignore-output"]
view.stop()
view.now()

# %%
car.shutdown()
consumer.close()
monitor.join()
edge.stop()

# %% [markdown]
# **You have now**
#
# - opened a hub and registered `edge-1`, edge-enabled, and `car-1`
# - sent a message, set the car's pace, met `404103`, and left orders, one of them urgent
# - started the edge runtime, deployed EchoModule by a manifest, and read its status and its log
# - joined a second module by routes, and let warnings pass only
# - cut the edge off, and lost nothing of what was sent meanwhile
#
# **Next**: [03 The car simulator](03_car_simulator.ipynb), in which a car drives on the edge.
