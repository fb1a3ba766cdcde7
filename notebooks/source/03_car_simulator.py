# %% [markdown]
# # 03 The car simulator
#
# A car drives: its CAN frames become rows, a module on the edge sends them to the hub, and none of them is lost.
#
# **You will**
#
# - look at a drive: its columns, speed, gears and route, and how much data it is
# - see the same drive as CAN frames, and add a signal to the car's DBC
# - run ModuleSimulatorCar on your desk, then deploy it to an edge device, and read its rows at the hub
# - watch it live, change its pace through its twin, and let fast rows only pass
# - kill the hub and cut the edge off while the car drives, and count what is lost
#
# **Before you start**: `make lab` has installed everything and opened this page;
# [02 IoT Hub setup](02_iot_hub_setup.ipynb) explains hub, edge and manifest. About 60 minutes. Works offline: yes.

# %%
import queue
import tempfile
import threading
import time
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path

import cantools
from azure.eventhub import EventHubConsumerClient
from azure.iot.hub import IoTHubConfigurationManager, IoTHubRegistryManager
from azure.iot.hub.models import CloudToDeviceMethod, ConfigurationContent
from azure.iot.hub.models import Twin, TwinProperties

from iotedge_lab import Lab
from iotedge_lab.car import drives
from iotedge_lab.car.can import buses, database, encoder, player, reader
from iotedge_lab.car.powertrain import RPM_PER_MPH
from iotedge_lab.edge.manifest import load
from iotedge_lab.show import live, panel, plots, tables
from iotedge_lab.show.code import MODULES
from iotedge_lab.show.exercises import car_simulator as exercise

# %% [markdown]
# ## A drive
#
# `car.csv` holds what a car's sensors said, ten times a second and more. Your own recording works too, if it has
# the same eleven columns: put its path here.

# %%
CAR_CSV = drives.car_csv()
drive = drives.load(CAR_CSV)
tables.columns(drive)

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
# A sensor sends `messages_per_second`, each of `message_bytes`. How many gigabytes (10⁹ bytes) is that in a day?


# %% exercise="gigabytes_per_day"
def gigabytes_per_day(message_bytes, messages_per_second):
    """Gigabytes that a sensor sends in a day."""
    # >>> solution
    return message_bytes * messages_per_second * 24 * 60 * 60 / 1e9
    # <<< solution


# >>> check
exercise.check_gigabytes_per_day(gigabytes_per_day)

# %%
size = len(next(drives.rows(CAR_CSV)).to_json())
print(f"one row is {size} bytes")

# %%
print(f"at  1 a second: {gigabytes_per_day(size, 1):.3f} GB a day")
print(f"at 10 a second: {gigabytes_per_day(size, 10):.3f} GB a day")

# %% [markdown]
# That is one car's eleven numbers. A self-driving car's cameras and lidar make about 4 TB in 1.5 hours:

# %%
per_second = 4e12 / (1.5 * 60 * 60)
print(f"{per_second / 1e6:.0f} MB a second, as much as {per_second / size:,.0f} rows")

# %% [markdown]
# This is why the edge decides what to send.
#
# ## On the bus
#
# In a car nobody speaks CSV. Control units send *frames*, an identifier and up to eight bytes, to whoever listens. A
# DBC file says what they mean: which bits are which *signal*, a number with a name and a unit. The field's library
# `cantools` reads it.

# %%
bus = cantools.database.load_file(database.CAR_DBC)
tables.bus(bus)

# %% [markdown]
# **Predict:** what will the bytes of an engine at 1290 revolutions a minute look like, throttle at 11 %?

# %%
engine = bus.get_message_by_name("EngineData")
values = {"EngineCounter": 0, "EngineSpeed": 1290, "ThrottlePosition": 11}
data = engine.encode(values)
print(data.hex(" "), "->", engine.decode(data))

# %% [markdown]
# **What just happened?** `00` counts the frames, `0a 05` is the engine speed, low byte first, `0b` the throttle: no
# names, no units, no waste. Those stand in the DBC, a line for each signal: first bit, length, step and offset,
# range, unit, and who listens:

# %%
lines = database.CAR_DBC.read_text().splitlines()
print(*(line for line in lines if line.startswith(" SG_") and "Speed" in line), sep="\n")

# %% [markdown]
# The step of `VehicleSpeed` is a thousandth of a mile an hour: its value is the bits' number times 0.001, plus the
# offset 0. Now a minute of the drive as frames, each message at its own pace:

# %%
minute = [row for row in drives.rows(CAR_CSV) if row.seconds < 60]
frames = list(encoder.Encoder().frames(minute))
octets = sum(len(frame.data) for frame in frames)
print(f"{len(minute)} rows make {len(frames):,} frames with {octets:,} bytes")

# %% [markdown]
# The way back, the story's *CAN Bus Connect*: it hears all frames, keeps each signal's latest value, and makes one
# row a second of them. **Predict:** what will be lost on the way?

# %%
rows = list(reader.Reader(hz=1).rows(frames))
assert rows == list(drives.resample(minute, hz=1)), "the bus has changed a value"
print(f"{len(rows)} rows, equal to the recording's, once a second")

# %% [markdown]
# ### Exercise 2: a new signal
#
# This car is to tell the temperature outside: `OutsideTemperature`, -40 to 87.5 degC in steps of 0.5, in one byte.
# So raw 0 stands for -40. Its message `Outside` is there; write its `SG_` line. `Gateway` listens.


# %% exercise="add_signal"
def add_signal(dbc):
    """The text of a DBC with the message Outside."""
    # >>> solution
    # stub: signal = ...  # ' SG_ NAME : START|BITS@1+ (STEP,OFFSET) [LEAST|MOST] "UNIT" Gateway'
    signal = ' SG_ OutsideTemperature : 0|8@1+ (0.5,-40) [-40|87.5] "degC" Gateway'
    # <<< solution
    cycle = 'BA_ "GenMsgCycleTime" BO_ 1200 1000;'
    return f"{dbc}\nBO_ 1200 Outside: 1 Cockpit\n{signal}\n{cycle}\n"


# >>> check
exercise.check_add_signal(add_signal, database.CAR_DBC.read_text())

# %% [markdown]
# From now on the car has your DBC, and 21.5 degrees outside.

# %%
folder = tempfile.TemporaryDirectory()
dbc = Path(folder.name, "car.dbc")
dbc.write_text(add_signal(database.CAR_DBC.read_text()))
units = encoder.Encoder(database.load(dbc), extra={"OutsideTemperature": lambda now: 21.5})

# %% [markdown]
# ## The module, on your desk
#
# ModuleSimulatorCar listens to the bus and sends a row a second. First under the simulator, which stands for its
# edge hub; [01 The edge simulator](01_edge_simulator.ipynb) explains it.

# %%
lab = Lab.open()
lab.activate()
lab.reset()
lab

# %% [markdown]
# The module is a process, the car drives in this notebook, and the bus between them is a unix socket. The module's
# settings are environment variables here.

# %%
address = f"unix:{folder.name}/bus"
settings = {
    "CAR_SOURCE": "can",
    "CAR_BUS": address,
    "CAR_DBC": str(dbc),
    "CAR_SIGNALS": "OutsideTemperature",
}

# %%
simulator = lab.simulator("input1", port=0)
with (
    simulator.run(MODULES / "ModuleSimulatorCar", settings),
    buses.open_bus(address) as wires,
):
    simulator.wait_connected()
    with player.CarOnBus(minute, wires, encoder=units):
        outputs = simulator.wait_for_outputs(3)
for output in outputs:
    print(output.text)

# %% [markdown]
# **What just happened?** The blog's line for each second, and behind it your signal. The module runs as it will on
# the edge: it was given a bus and an edge hub, and knows no cloud.
#
# ## On the edge
#
# Now for good: an edge device, and the module's own manifest with the blog's route.

# %%
simulator.stop()
registry = IoTHubRegistryManager.from_connection_string(lab.service_connection_string)

# %%
registry.create_device_with_sas("car-edge", None, None, "enabled", iot_edge=True)
registry.update_twin("car-edge", Twin(tags={"iotedgeLab": True}))
registry.get_device("car-edge").capabilities.iot_edge

# %%
template = MODULES / "ModuleSimulatorCar" / "deployment.template.json"
manifest = load(template.read_text()).content["modulesContent"]

# %%
edge_hub = manifest["$edgeHub"]["properties.desired"]
blogs_route = edge_hub["routes"]
print(*blogs_route.values(), edge_hub["storeAndForwardConfiguration"], sep="\n")

# %% [markdown]
# The settings are desired properties here. Without a bus the module replays `car.csv`, which it carries: one row for
# each second of the drive, as JSON, so that routes can look into it.

# %%
desired = {"rate": 1, "resample": True, "format": "json", "driveId": "drive-1"}
manifest["ModuleSimulatorCar"]["properties.desired"] = desired

# %%
deployments = IoTHubConfigurationManager.from_connection_string(
    lab.service_connection_string
)


# %%
def deploy(manifest):
    """Have car-edge run what a manifest says."""
    content = ConfigurationContent(modules_content=manifest)
    deployments.apply_configuration_on_edge_device("car-edge", content)


# %%
began = datetime.now(UTC)
deploy(manifest)
edge = lab.edge("car-edge")
edge.wait_until_running("ModuleSimulatorCar")

# %% [markdown]
# One and a half minutes of driving would take as long. The module has a direct method to replay faster, and others
# to pause, to go on and to tell how it is.


# %%
def ask_car(method, payload=None):
    """Call a direct method of the module; what it answers."""
    call = CloudToDeviceMethod(method_name=method, payload=payload)
    to = ("car-edge", "ModuleSimulatorCar", call)
    return registry.invoke_device_module_method(*to).payload


# %%
ask_car("setSpeed", {"speed": 60})


# %%
def until(fact):
    """Wait until a fact holds."""
    give_up = time.monotonic() + 60
    while not fact():
        assert time.monotonic() < give_up, "not in a minute; look at edge.status()"
        time.sleep(0.1)


# %%
until(lambda: ask_car("status")["progress"]["row"] >= 90)
ask_car("pause")

# %% [markdown]
# ## Read
#
# The hub keeps messages in *partitions*, each a log: reading takes nothing away. This reads one partition with the
# Event Hubs SDK, from a position to the end that the log has now. `None` comes after two seconds without an event.


# %%
def client():
    """A client of the built-in endpoint, for the consumer group $Default."""
    return EventHubConsumerClient.from_connection_string(
        lab.events_connection_string,
        consumer_group="$Default",
        eventhub_name=lab.events_name,
    )


# %%
def read(partition, **position):
    """The events of one partition, from a position to the end."""
    events, consumer = [], client()
    end = consumer.get_partition_properties(partition)["last_enqueued_sequence_number"]

    def on_event(context, event):
        if event is not None:
            events.append(event)
        if event is None or event.sequence_number >= end:
            consumer.close()

    consumer.receive(on_event, partition_id=partition, max_wait_time=2, **position)
    return events


# %% [markdown]
# A position is a time, a sequence number, or `"-1"` for the oldest event that the hub still has.
#
# **Predict:** the hub has more than one partition. Over how many will the messages of one device be spread?

# %%
edge.wait_until_delivered()
news = {}
with client() as consumer:
    for name in consumer.get_partition_ids():
        last = consumer.get_partition_properties(name)["last_enqueued_time_utc"]
        news[name] = last >= began
news

# %% [markdown]
# **What just happened?** The hub chooses the partition by the device's name. So all of a car's messages are in one
# log, in the order in which they were sent; another car may share the log or have another.

# %%
home = next(name for name, has_news in news.items() if has_news)
received = read(home, starting_position=began)
first = received[:60]

# %%
log = tables.events(first, properties=["driveId", "row", "alert"])
tables.first_rows(log.iloc[:, :6], note=f"{(log['alert'] != '').sum()} carry an alert.")

# %%
rows = islice(drives.resample(drives.rows(CAR_CSV), hz=1), 60)
assert [event.body_as_str() for event in first] == [row.to_json() for row in rows]
plots.speed_over_time(tables.bodies(first))

# %% [markdown]
# Each row came through, unchanged and in order: the `assert` says so, the picture shows the first minute of the
# drive. The same minute as the car's panel:

# %%
panel.panel([panel.read(event.body_as_str()) for event in first[:48]])

# %% [markdown]
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
exercise.check_read_after(read_after, received)

# %% [markdown]
# ## Watch
#
# Now live. The SDK puts each event on a queue, from a thread of its own; the view takes them from there and redraws
# the panel.

# %%
arrived = queue.Queue()
watcher = client()
monitor = threading.Thread(
    target=watcher.receive,
    args=(lambda partition, event: arrived.put(event),),
    kwargs={"partition_id": home, "starting_position": "@latest", "prefetch": 10},
    daemon=True,
)
monitor.start()

# %%
ask_car("setSpeed", {"speed": 4})
ask_car("resume")

# %%
view = live.watch(arrived, sender="car-edge/ModuleSimulatorCar")
view

# %%
assert view.wait_for(12) >= 12
view.stop()

# %% [markdown]
# `view.panel()` keeps a moment of it as a picture. Leave the view running as long as you like, before the cell that
# stops it; running its cell again stops the one before.
#
# ### Exercise 4: another pace, by twin
#
# Ask for another `rate` (rows for each second of the drive): patch the *module's* desired properties.


# %% exercise="set_rate"
def set_rate(registry, rate):
    """Have the car's module send so many rows a second."""
    # >>> solution
    # stub: ...  # hint: registry.update_module_twin("car-edge", ..., Twin(...))
    desired = TwinProperties(desired={"rate": rate})
    registry.update_module_twin(
        "car-edge", "ModuleSimulatorCar", Twin(properties=desired)
    )
    # <<< solution


# >>> check
exercise.check_set_rate(set_rate)

# %% [markdown]
# At the speed of life again; after four rows somebody in the cloud wants ten a second. **Predict:** what will the
# messages' numbers over time look like?

# %%
ask_car("setSpeed", {"speed": 1})
arrived.queue.clear()
events = [arrived.get(timeout=30) for _ in range(4)]
set_rate(registry, 10)
events += [arrived.get(timeout=30) for _ in range(16)]

# %%
plots.arrivals([event.enqueued_time for event in events])

# %%
watcher.close()
monitor.join()


def reported():
    """What the module says of itself in its twin."""
    twin = registry.get_module_twin("car-edge", "ModuleSimulatorCar")
    return twin.properties.reported


# %%
until(lambda: reported()["rate"] == 10)
{name: reported()[name] for name in ("rate", "format", "driveId")}

# %% [markdown]
# ### Exercise 5: fast rows only
#
# Write a route that lets the module's rows pass to the hub only if they are faster than 30 mph. The speed stands in
# the message's body: `$body.speed`.

# %% exercise="fast_route"
# >>> solution
# stub: FAST = ...  # "FROM ... WHERE ... INTO $upstream"
FAST = (
    "FROM /messages/modules/ModuleSimulatorCar/outputs/* "
    "WHERE $body.speed > 30 INTO $upstream"
)
# <<< solution

# >>> check
exercise.check_fast_route(FAST)

# %%
ask_car("pause")
manifest["$edgeHub"]["properties.desired"]["routes"] = {"FastRows": FAST}
deploy(manifest)
edge.wait_until(lambda now: list(now.raw["routes"]) == ["FastRows"], "the new route")
edge.wait_until_delivered()

# %% [markdown]
# A deployment writes the twins of all its modules, too: `rate` is that of the manifest again. So at this speed a
# whole round of the drive passes in seconds:

# %%
until(lambda: ask_car("status")["rate"] == 1)
ask_car("setSpeed", {"speed": 200})

# %% [markdown]
# **Predict:** which share of the rows will pass? (Look at the first picture.)

# %%
began, progress = datetime.now(UTC), ask_car("status")["progress"]
before, whole = progress["sent"], progress["rows"]
ask_car("resume")
until(lambda: ask_car("status")["progress"]["sent"] >= before + whole)
ask_car("pause")
edge.wait_until_delivered()

# %%
until_then = before + whole
came = read(home, starting_position=began)
came = [event for event in came if int(event.properties[b"sequence"]) <= until_then]
fast = tables.bodies(came)
print(f"{len(fast)} of {whole} rows passed, the slowest at {fast['speed'].min():.2f} mph")
assert fast["speed"].min() > 30, "a slow row has passed"

# %% [markdown]
# **What just happened?** The edge decided. What no route takes is acknowledged and dropped, so the module need not
# know.
#
# ## Pull the plug
#
# The blog's route again, and rows with a number, `sequence`, in their properties: a gap is a lost row.

# %%
manifest["$edgeHub"]["properties.desired"]["routes"] = blogs_route
deploy(manifest)
edge.wait_until(lambda now: "FastRows" not in now.raw["routes"], "the new route")
ask_car("setSpeed", {"speed": 20})


# %%
def lost_since(number, began):
    """The rows after a number that the module has sent, and that the hub does not have."""
    ask_car("pause")
    edge.wait_until_delivered()
    sent = set(range(number + 1, ask_car("status")["progress"]["sent"] + 1))
    events = read(home, starting_position=began)
    return sent - {int(event.properties[b"sequence"]) for event in events}


# %% [markdown]
# Now the hub's process is killed with `SIGKILL`, while the car drives: no farewell, no clean-up. When twenty rows wait
# at the edge, it starts again. (On Azure, pull out the network's plug instead.) **Predict:** which rows will be
# missing?

# %%
began, before = datetime.now(UTC), ask_car("status")["progress"]["sent"]
ask_car("resume")
if lab.is_local:
    lab.crash()
    edge.wait_until(lambda now: now.waiting >= 20, "rows that wait")
    lab.start()
edge.wait_until_connected()

# %%
until(lambda: ask_car("status")["progress"]["sent"] >= before + 100)
lost = lost_since(before, began)
assert not lost, f"rows are lost: {sorted(lost)}"
print(len(lost), "rows lost")

# %% [markdown]
# **What just happened?** The module did not even notice: the edge hub acknowledged its rows and kept them. And what
# the hub itself has acknowledged is stored where a crash cannot reach it.
#
# ## Out of reach
#
# The same with the edge cut off. **Predict:** where are the rows now?

# %%
began, before = datetime.now(UTC), ask_car("status")["progress"]["sent"]
ask_car("resume")
edge.offline()
edge.wait_until(lambda now: now.waiting >= 20, "a queue of rows")

# %%
edge.online()
edge.wait_until_connected()
lost = lost_since(before, began)
assert not lost, f"rows are lost: {sorted(lost)}"
print(len(lost), "rows lost")

# %% [markdown]
# **What just happened?** *Store and forward*: the rows waited on the edge's disk, for `timeToLiveSecs` at the most, and
# went up in their order. If an acknowledgement is lost on the way, a row arrives twice: the promise is *at least
# once*, and `sequence` tells.

# %%
edge.stop()
folder.cleanup()

# %% [markdown]
# **You have now**
#
# - seen a drive, its gears as lines, and worked out its data rate
# - turned it into CAN frames and back, with a signal of your own
# - run the module under the simulator, deployed it, and read its rows by partition
# - watched the car live, changed its pace by twin, and let fast rows pass
# - killed the hub and cut off the edge in full flow, and lost nothing
#
# **Next**: [04 The camera simulator](04_camera_simulator.ipynb): the car gets a camera.
