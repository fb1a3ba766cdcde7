# %% [markdown]
# # 02 IoT Hub setup
#
# A hub, two devices, and every way in which the cloud and a device talk to each other.
#
# **You will**
#
# - open a hub and register devices, one of them edge-enabled
# - send a message from the device and watch it arrive in the cloud
# - change a device's pace through its twin
# - call a method on a device, and meet the error of one that is away
# - leave orders for a sleeping device
#
# **Before you start**: `make lab` has installed everything and opened this page. About 30 minutes.
# Works offline: yes.

# %%
import json
import queue
import threading
import time
from datetime import UTC, datetime

from azure.eventhub import EventHubConsumerClient
from azure.iot.device import IoTHubDeviceClient, Message, MethodResponse
from azure.iot.hub import IoTHubRegistryManager
from azure.iot.hub.models import CloudToDeviceMethod, Twin, TwinProperties
from msrest.exceptions import HttpOperationError

from iotedge_lab import Lab
from iotedge_lab.show import documents, plots
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
# A hub speaks only to devices in its registry. `edge-1` will carry the edge runtime, `car-1` is a plain device. The
# tag is for `lab.reset()`, which on Azure deletes tagged devices only.
#
# > ```bash
# > az iot hub device-identity create --hub-name HUB --device-id edge-1 --edge-enabled
# > ```
#
# **Predict:** you name a device. What will the hub add?

# %%
registry = IoTHubRegistryManager.from_connection_string(lab.service_connection_string)


def register(device_id, **options):
    """Register a device with keys that the hub makes up, and tag it as the lab's."""
    registry.create_device_with_sas(device_id, None, None, "enabled", **options)
    registry.update_twin(device_id, Twin(tags={"iotedgeLab": True}))
    return registry.get_device(device_id)


documents.identity(register("edge-1", iot_edge=True))

# %% [markdown]
# **What just happened?** The hub made two keys (shown as `***`: so that one can be replaced while the other still
# works), a generation id that tells a re-created device from its predecessor, and a `deviceScope`, by which other
# devices may become its children. It also made identities for the runtime's own two modules:

# %%
sorted(module.module_id for module in registry.get_modules("edge-1"))

# %% [markdown]
# The runtime itself comes in a later form of this notebook. What a device needs in order to connect is one line, its
# connection string. Whoever has the key *is* the device, so never print it whole, and never commit it.
#
# > ```bash
# > az iot hub device-identity connection-string show --hub-name HUB --device-id car-1
# > ```

# %%
register("car-1")
connection_string = lab.device_connection_string("car-1")
documents.connection_string(connection_string)

# %%
car = IoTHubDeviceClient.create_from_connection_string(
    connection_string, **lab.client_options
)
car.connect()
registry.get_device("car-1").connection_state

# %% [markdown]
# That was MQTT over TLS, on port 8883. On Azure `connectionState` may lag behind by minutes: use it to look around,
# not to decide.
#
# ## From device to cloud
#
# First the cloud's ear: the SDK calls `arrived.put` for each event, **on a thread of its own**. Such a handler puts
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
arrived = queue.Queue()
monitor = threading.Thread(
    target=consumer.receive,
    args=(lambda partition, event: arrived.put(event),),
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
event = arrived.get(timeout=30)
sender = event.system_properties[b"iothub-connection-device-id"].decode()
print(f"Message received from [{sender}]: {event.body_as_str()}")

# %% [markdown]
# **What just happened?** The message went to the hub's *built-in endpoint*, a log that many programs may read. The
# hub wrote the sender on the envelope: no device can pretend to be another.
#
# ## The twin: what is wanted, what is so
#
# The cloud writes what it *desires* into a device's twin; a connected device is told at once.
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

car.shutdown()
consumer.close()
monitor.join()

# %% [markdown]
# **What just happened?** The hub remembers a device's subscriptions and hands out what has waited, oldest first. The
# property tells the car what to do first. The SDK says "received" to the hub by itself; only then is a message gone
# from the queue.
#
# | | for | device away? |
# |---|---|---|
# | device to cloud | telemetry | the device keeps it and sends it again |
# | twin | state that both sides agree on | kept; asked for on return |
# | direct method | a command that needs an answer now | refused, `404103` |
# | cloud to device | an order that can wait | kept in a queue, 50 at the most |

# %% [markdown]
# **You have now**
#
# - opened a hub and registered `edge-1`, edge-enabled, and `car-1`
# - sent a message from the car and watched it arrive
# - changed the car's pace through its twin, and read what it reported
# - called a method, and met `404103` when the car was away
# - left orders for a sleeping car, one of them urgent
#
# **Next**: [03 The car simulator](03_car_simulator.ipynb), in which `car-1` drives.
