# %% [markdown]
# # 00 Start here
#
# A car and its camera, an IoT Hub, and a model that goes from the cloud to the car and back: you will build all of it,
# on this machine.
#
# **You will**
#
# - see the whole story in one picture
# - check that this machine is ready
# - send your first message to a hub
# - learn how the exercises work, and where your progress is kept
#
# **Before you start**: `make lab` has installed everything and opened this page. About 10 minutes. Works offline: yes.

# %% [markdown]
# ## The story
#
# ![Left, on the edge: a car and a camera, their modules, and the IoT Edge runtime. Right, in the cloud: IoT Hub, data lake, AutoML, model registry and roll-out. Six numbered arrows make a loop from the runtime to the hub and back.](images/story.svg)
#
# A self-driving car makes about 4 TB in 1.5 hours: too much to send. A ship in mid-ocean waits ten seconds for an
# answer, if it has a link at all: too long to ask. So a model is trained in the cloud, deployed to the *edge*, where
# the data arises, and runs there; only what matters comes back.

# %% [markdown]
# 1. **receive** telemetry from the edge (notebooks 01 to 04)
# 2. **store** it in a data lake
# 3. **train** a model on it (05)
# 4. **register** the model
# 5. **push** it to the hub
# 6. **send** it to the edges, a few first; and again (06, 07)
#
# A blog series of 2019 told this story, and it took an Azure subscription, a virtual machine, Docker and root. Here the
# hub and the edge runtime are processes on your machine.
#
# **Predict:** a camera takes 24 pictures a second, and the cloud is to look at each. How many milliseconds are there for
# the way to the cloud, the look and the way back?

# %%
print(f"{1000 / 24:.1f} ms until the next picture")

# %% [markdown]
# Few links are that quick. So the model goes to the camera, and the series goes there step by step:

# %%
import json

from azure.iot.device import IoTHubDeviceClient, Message
from azure.iot.hub import IoTHubRegistryManager

from iotedge_lab import Lab
from iotedge_lab.show import checks, outline
from iotedge_lab.show.exercises import start_here as exercise

# %%
outline.outline()

# %% [markdown]
# ## Is this machine ready?
#
# `Lab.open()` starts the local hub, or finds the one that runs. `activate()` tells the SDKs in this notebook where it
# is and whom to trust. The first cells of all notebooks look like this.

# %%
lab = Lab.open()
lab.activate()
lab.reset()
lab

# %% [markdown]
# The lab's doctor examines everything that has ever stood in somebody's way. Each line is OK, or says what to do. In a
# terminal it is `iotedge-lab doctor`.

# %% tags=["nbval-ignore-output"]
found = checks.checks(lab)
found

# %%
assert not found.in_the_way, "\n".join(found.in_the_way)
print("Nothing stands in the way.")

# %% [markdown]
# ## Your first message
#
# A device has to be known to the hub before it may connect. Registering one is the work of the *service SDK*,
# `azure.iot.hub`:

# %%
registry = IoTHubRegistryManager.from_connection_string(lab.service_connection_string)
device = registry.create_device_with_sas("my-first-device", None, None, "enabled")
device.device_id, device.status, device.connection_state

# %% [markdown]
# What runs on a device is the *device SDK*, `azure.iot.device`. It connects with the device's own key.
#
# **Predict:** what will the hub say about the device once it is connected?

# %%
client = IoTHubDeviceClient.create_from_connection_string(
    lab.device_connection_string("my-first-device")
)
client.connect()
registry.get_device("my-first-device").connection_state

# %% [markdown]
# A car's speed goes up, as JSON. **Predict:** `send_message` returns. Where is the message then?

# %%
message = Message(json.dumps({"speed": 30.647}))
message.content_type, message.content_encoding = "application/json", "utf-8"
client.send_message(message)
print("messages in the hub's log:", lab.status()["messages"])

# %% [markdown]
# **What just happened?** Microsoft's own SDKs, unchanged, spoke MQTT and HTTPS over TLS with a hub on your machine.
# `send_message` came back when the hub had stored the message: what is acknowledged is never lost here.
#
# The lab also has a page that shows devices and messages: the tile *IoT Edge Lab* in JupyterLab's launcher.

# %%
client.shutdown()
registry.get_device("my-first-device").connection_state

# %% [markdown]
# ## How the exercises work
#
# A cell for you to fill, a cell that checks it, and a folded solution: click the three dots to unfold it. Nothing
# breaks if you skip one.
#
# ### Exercise 1: say hello
#
# Return a greeting with the name in it.


# %% exercise="greeting"
def greeting(name):
    """Hello to somebody."""
    # >>> solution
    return f"Hello, {name}!"
    # <<< solution


# >>> check
exercise.check_greeting(greeting)

# %% [markdown]
# What you have solved is kept beside the hub's state, and this shows it, here and in every notebook:

# %%
lab.progress()

# %% [markdown]
# ## Local and real
#
# Everything runs against the local hub, unless the variable `IOTHUB_CONNECTION_STRING` (and
# `EVENTHUB_CONNECTION_STRING`) names a hub on Azure when JupyterLab starts. Then the same cells run there, it costs
# what Azure costs, and cells that kill the hub say that they cannot. To switch back, start JupyterLab without them.

# %%
"the local hub" if lab.is_local else f"Azure: {lab.hostname}"

# %%
lab.close()

# %% [markdown]
# **You have now**
#
# - seen the whole story in one picture
# - checked that this machine is ready
# - sent your first message to a hub
# - learned how the exercises work, and where your progress is kept
#
# **Next**: [01 The edge simulator](01_edge_simulator.ipynb): one module, on your desk. If you know IoT Edge,
# [02 IoT Hub setup](02_iot_hub_setup.ipynb) is where the deployment begins.
