# %% [markdown]
# # 03 The car simulator
#
# A car's recording goes row by row to an IoT Hub, comes back out of it, and survives the hub's sudden death.
#
# **You will**
#
# - look at a drive: speed, gears, route, and how much data it is
# - register a device and connect it over MQTT and TLS
# - send each row as a message, with a property that the cloud can filter by
# - read the messages back, by partition, from any place
# - kill the hub while the car is sending, and count what is lost
#
# **Before you start**: `make lab` has installed everything and opened this page;
# [02 IoT Hub setup](02_iot_hub_setup.ipynb) explains the hub. About 25 minutes. Works offline: yes.

# %%
import logging
import threading
import time
from datetime import UTC, datetime
from itertools import islice

from azure.eventhub import EventHubConsumerClient
from azure.iot.device import IoTHubDeviceClient, Message, exceptions
from azure.iot.hub import IoTHubRegistryManager
from azure.iot.hub.models import Twin

from iotedge_lab import Lab
from iotedge_lab.car import drives
from iotedge_lab.car.powertrain import RPM_PER_MPH
from iotedge_lab.show import plots, tables
from iotedge_lab.show.exercises import car_simulator as exercise

# %% [markdown]
# `azure.*` is Microsoft's own SDK, unchanged. `iotedge_lab` starts the hub, draws and checks; it does not stand
# between you and the SDK.

# %%
lab = Lab.open()
lab.activate()
lab.reset()
lab

# %% [markdown]
# ## A drive
#
# `car.csv` holds what a car's sensors said, ten times a second and more. Your own recording works too, if it has
# the same eleven columns: put its path here.

# %%
CAR_CSV = drives.car_csv()
drive = drives.load(CAR_CSV)
tables.first_rows(drive)

# %% [markdown]
# **Predict:** how often will the car stop, and for how long?

# %%
plots.speed_over_time(drive)

# %% [markdown]
# **Predict:** an automatic gearbox has a fixed ratio in each gear. What shape will engine speed over road speed
# have?

# %%
plots.rpm_over_speed(drive, rpm_per_mph=RPM_PER_MPH)

# %% [markdown]
# **What just happened?** In one gear, engine speed is a fixed multiple of road speed: a straight line through the
# origin. The dots between the lines are changes of gear, slip when starting off, and the logger, which reads each
# value about once a second. A model that predicts speed will have to find these lines.

# %%
plots.route_map(drive)

# %% [markdown]
# ### Exercise 1: how much data is that?
#
# A message has a size in bytes, and so many are sent each second. How many gigabytes (10⁹ bytes) is that in a day?


# %% exercise="gigabytes_per_day"
def gigabytes_per_day(message_bytes, messages_per_second):
    """Gigabytes that a sensor sends in a day."""
    # >>> solution
    return message_bytes * messages_per_second * 24 * 60 * 60 / 1e9
    # <<< solution


# >>> check
exercise.check_gigabytes_per_day(gigabytes_per_day)

# %%
rows = list(islice(drives.resample(drives.rows(CAR_CSV), hz=1), 60))
size = len(rows[0].to_json())
print(f"one row is {size} bytes")
print(f"at  1 a second: {gigabytes_per_day(size, 1):.3f} GB a day")
print(f"at 10 a second: {gigabytes_per_day(size, 10):.3f} GB a day")

# %% [markdown]
# That is one car's eleven numbers. Cameras and lidar make about 4 TB in 1.5 hours: this is why the edge decides
# what to send.
#
# ## A device
#
# A hub speaks only to devices that it knows. Registering one creates its two keys; the tag lets `lab.reset()` find
# the device again.

# %%
registry = IoTHubRegistryManager.from_connection_string(lab.service_connection_string)
device = registry.create_device_with_sas("car-1", None, None, "enabled")
registry.update_twin("car-1", Twin(tags={"iotedgeLab": True}))
print(device.device_id, device.status, device.connection_state, device.authentication.type)

# %% [markdown]
# Now the other side: the car. It knows its own connection string and nothing else. **Predict:** what will the
# registry say of its connection state after this cell?

# %%
car = IoTHubDeviceClient.create_from_connection_string(
    lab.device_connection_string("car-1"), **lab.client_options
)
car.connect()
print(registry.get_device("car-1").connection_state)

# %% [markdown]
# ### Exercise 2: a message that asks for attention
#
# A message is a body and properties. A route in the cloud can filter by a property without opening the body. Give
# rows of hard braking, at or below -0.2 g (`row.acceleration_gs`), the property `alert` with the value `braking`.
# Properties live in `message.custom_properties`, a dictionary.


# %% exercise="to_message"
def to_message(row):
    """One row of the drive as a message; hard braking carries a property."""
    body = row.to_json()
    message = Message(body, content_encoding="utf-8", content_type="application/json")
    message.custom_properties["driveId"] = "drive-1"
    # >>> solution
    # stub: ...  # hint: if row.acceleration_gs ...
    if row.acceleration_gs <= -0.2:
        message.custom_properties["alert"] = "braking"
    # <<< solution
    return message


# >>> check
exercise.check_to_message(to_message)

# %% [markdown]
# ## Send
#
# Sixty rows: a minute of driving at one row a second, sent twenty times as fast. `send_message` returns when the
# hub has stored the message and said so.

# %%
began = datetime.now(UTC)
for row in rows:
    car.send_message(to_message(row))
    time.sleep(0.05)

# %% [markdown]
# ## Read
#
# The hub keeps messages in partitions, each a log: reading takes nothing away. This reads one partition with the
# Event Hubs SDK, from a position on, until two seconds pass without an event.


# %%
def read(partition, **position):
    """The events of one partition, from a position on."""
    events = []
    consumer = EventHubConsumerClient.from_connection_string(
        lab.events_connection_string,
        consumer_group="$Default",
        eventhub_name=lab.events_name,
    )

    def on_event(context, event):
        if event is None:
            consumer.close()
        else:
            events.append(event)

    consumer.receive(on_event, partition_id=partition, max_wait_time=2, **position)
    return events


# %% [markdown]
# A position is a time, a sequence number, or `"-1"` for the oldest event that the hub still has.
#
# **Predict:** the hub has more than one partition. Over how many will the messages of one car be spread?

# %%
with EventHubConsumerClient.from_connection_string(
    lab.events_connection_string,
    consumer_group="$Default",
    eventhub_name=lab.events_name,
) as consumer:
    partitions = consumer.get_partition_ids()
received = {number: read(number, starting_position=began) for number in partitions}
{partition: len(events) for partition, events in received.items()}

# %% [markdown]
# **What just happened?** The hub chooses the partition by the device's name. So all of a car's messages are in one
# log, in the order in which it sent them; another car may share the log or have another.

# %%
home = max(received, key=lambda partition: len(received[partition]))
log = tables.events(received[home], properties=["driveId", "alert"])
tables.first_rows(log, note=f"{(log['alert'] == 'braking').sum()} of them carry an alert.")

# %%
assert [event.body_as_str() for event in received[home]] == [row.to_json() for row in rows]
plots.speed_over_time(tables.bodies(received[home]))

# %% [markdown]
# Each row came back, unchanged and in order: the `assert` says so, the picture shows the first minute of
# the drive.
#
# ### Exercise 3: go on where you stopped
#
# A program that reads the log remembers the last `sequence_number` it has dealt with. Read what came after it, and
# nothing twice. `read` takes `starting_position=`.


# %% exercise="read_after"
def read_after(sequence_number):
    """The events of the car's partition after a sequence number."""
    # >>> solution
    return read(home, starting_position=sequence_number)
    # <<< solution


# >>> check
exercise.check_read_after(read_after, received[home])

# %% [markdown]
# ## Pull the plug
#
# Connections break. Then `send_message` waits for the link or raises; the row is still yours, as nobody has
# acknowledged it. So send it again, until somebody has.

# %%
LINK_IS_DOWN = (
    exceptions.ConnectionDroppedError,
    exceptions.ConnectionFailedError,
    exceptions.NoConnectionError,
)


def send(row):
    """Send a row until the hub has acknowledged it; returns the seconds that took."""
    began = time.monotonic()
    for _ in range(100):
        try:
            car.send_message(to_message(row))
            return time.monotonic() - began
        except LINK_IS_DOWN:
            time.sleep(0.2)
    raise TimeoutError("no connection for 20 seconds; does the hub run?")


# %% [markdown]
# A second from the start of the next cell, the hub's process is killed with `SIGKILL`: no farewell, no clean-up.
# Two seconds later it starts again. (On Azure, pull out the network's plug instead.) **Predict:** which rows will be
# missing?


# %%
def pull_the_plug():
    """Kill the local hub, leave it dead for two seconds, start it again."""
    if not lab.is_local:
        return
    lab.crash()
    time.sleep(2)
    lab.start()


logging.getLogger("azure.iot").setLevel(logging.ERROR)  # a lost connection is no news here
accident = threading.Timer(1, pull_the_plug)
accident.start()
acknowledged, seconds = [], []
for row in rows:
    seconds.append(send(row))
    acknowledged.append(row.to_json())
    time.sleep(0.05)
accident.join()

# %%
print("a row had to wait for more than a second:", max(seconds) > 1)
after = read_after(received[home][-1].sequence_number)
lost = set(acknowledged) - {event.body_as_str() for event in after}
assert not lost, f"{len(lost)} acknowledged messages are lost"
print(f"{len(lost)} of {len(acknowledged)} acknowledged messages lost")
car.shutdown()

# %% [markdown]
# **What just happened?** The hub acknowledges a message only once it is stored where a crash cannot reach it. What
# it had not acknowledged, your loop sent again. If the acknowledgement alone was lost, a row arrives twice: the
# promise is *at least once*. Give messages an id where twice would hurt.

# %% [markdown]
# **You have now**
#
# - seen a drive, its gears as lines, and worked out its data rate
# - registered `car-1` and connected it over MQTT and TLS
# - sent rows as messages, with an `alert` for hard braking
# - read them back by partition, and gone on from a sequence number
# - killed the hub in full flow, and lost nothing that it had acknowledged
#
# **Next**: 04, the camera simulator, is to come. The twin, methods and orders to the car are in
# [02 IoT Hub setup](02_iot_hub_setup.ipynb).
