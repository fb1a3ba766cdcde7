# %% [markdown]
# # 07 Closing the loop
#
# Six arrows: receive, store, train, register, push, send. At the end they all turn, by themselves.
#
# **You will**
#
# - run four edge devices, deployed to by one deployment
# - store what arrives in a lake, each message exactly once, and ask it with SQL
# - train on the lake, register the model, and roll it out to the fleet
# - replace the cars, see the error rise, and let the loop bring it down again
# - roll a bad model back, on purpose
#
# **Before you start**: [05 AutoML](05_automl_car_model.ipynb) has the model, [02 IoT Hub setup](02_iot_hub_setup.ipynb)
# deployments. About 60 minutes. Works offline: yes.

# %%
import json
import time
from datetime import UTC, datetime
from functools import partial

import pandas as pd
from azure.iot.hub import IoTHubConfigurationManager, IoTHubRegistryManager
from azure.iot.hub.models import CloudToDeviceMethod, Configuration
from azure.iot.hub.models import ConfigurationContent, Twin, TwinProperties

# %%
from iotedge_lab import Lab
from iotedge_lab.capture import Capture
from iotedge_lab.car import cars
from iotedge_lab.edge.manifest import load
from iotedge_lab.lake.reading import Lake
from iotedge_lab.registry.registry import Registry
from iotedge_lab.rollout.compare import Rule
from iotedge_lab.rollout.drift import Watch
from iotedge_lab.rollout.from_lake import LakeSource
from iotedge_lab.rollout.learn import learn
from iotedge_lab.rollout.loop import Loop
from iotedge_lab.rollout.plan import Plan
from iotedge_lab.rollout.service import Service
from iotedge_lab.show import rollout, rollout_view, tables
from iotedge_lab.show.code import MODULES
from iotedge_lab.show.exercises import closing_the_loop as exercise

# %% [markdown]
# ![The loop: modules on the edge send to the IoT Hub; a data lake stores; AutoML trains; a registry keeps the model; the roll-out sends it to the edges](images/story.svg)
#
# ## Four cars
#
# Each is an edge device with a tag, and has two recordings: of the car that it is, and of the delivery van that will
# take its place.

# %%
lab = Lab.open()
lab.activate()
lab.reset()
to_hub = lab.service_connection_string
devices = IoTHubRegistryManager.from_connection_string(to_hub)
FLEET = [f"car-{number}" for number in range(1, 5)]

# %%
for number, name in enumerate(FLEET):
    drives = lab.state_dir / "edges" / name / "host" / "drives"
    drives.mkdir(parents=True, exist_ok=True)
    for word, car in (("car", cars.RECORDED), ("van", cars.VAN)):
        rows = car.drive(4_000 + number, seconds=900)
        cars.write(rows, drives / f"{word}-{name}.csv")
    devices.create_device_with_sas(name, None, None, "enabled", iot_edge=True)
    devices.update_twin(name, Twin(tags={"fleet": "cars", "iotedgeLab": True}))

# %% [markdown]
# The manifest is ModuleFilterCar's own, with a folder for the recordings and a third route: the rows themselves go to
# the hub too, for somebody has to learn from them.

# %%
template = MODULES / "ModuleFilterCar" / "deployment.template.json"
manifest = load(template.read_text()).content["modulesContent"]
modules = manifest["$edgeAgent"]["properties.desired"]["modules"]
mount = {"HostConfig": {"Binds": ["/drives:/app/drives"]}}
modules["ModuleSimulatorCar"]["settings"]["createOptions"] = mount
routes = manifest["$edgeHub"]["properties.desired"]["routes"]
rows_too = "FROM /messages/modules/ModuleSimulatorCar/outputs/* INTO $upstream"
routes["rows"] = rows_too
desired = {"format": "json", "rate": 1, "resample": True}
manifest["ModuleSimulatorCar"]["properties.desired"] = desired

# %% [markdown]
# One **deployment** for all devices that have the tag, those too that get it tomorrow.
#
# **Predict:** how many of the four will it target, and how many modules will run on this machine?

# %%
deployments = IoTHubConfigurationManager.from_connection_string(to_hub)
deployments.create_configuration(
    Configuration(
        id="cars",
        content=ConfigurationContent(modules_content=manifest),
        target_condition="tags.fleet='cars'",
        priority=10,
        schema_version="1.0",
    )
).id

# %%
edges = {name: lab.edge(name) for name in FLEET}
for edge in edges.values():
    edge.wait_until_running("ModuleSimulatorCar", "ModuleFilterCar")
targeted = deployments.get_configuration("cars").system_metrics.results
running = sum(len(edge.status().modules) for edge in edges.values())
print(targeted["targetedCount"], "targeted,", targeted["appliedCount"], "applied,")
print(running, "modules, each a process of its own")


# %%
def drive(word, speed=16):
    """Have each car replay its recording `word`, so many times as fast as life."""
    for name in FLEET:
        file = TwinProperties(desired={"file": f"drives/{word}-{name}.csv"})
        to = (name, "ModuleSimulatorCar")
        devices.update_module_twin(*to, Twin(properties=file))
        call = CloudToDeviceMethod(method_name="setSpeed", payload={"speed": speed})
        devices.invoke_device_module_method(*to, call)


began = datetime.now(UTC)
drive("car")

# %% [markdown]
# ## 1 Receive, 2 store
#
# A *capture* reads the built-in endpoint and writes **Delta tables**: the format of data lakes. A batch and how far it
# was read are one transaction, so each message is there exactly once, whatever is killed. The lake outlives notebooks:
# it may have rows of earlier ones.

# %%
capture = Capture(lab.state_dir).open(lab.events_connection_string)
lake = Lake(lab.state_dir / "lake")


# %%
def until(fact, seconds=60):
    """Wait until a fact holds."""
    give_up = time.monotonic() + seconds
    while not fact():
        assert time.monotonic() < give_up, f"not in {seconds} s; look at capture.status()"
        time.sleep(0.5)


def come():
    """How many rows of this notebook's cars are in the lake."""
    return len(lake.frame(columns=["device"], devices=FLEET, since=began))


# %%
until(lambda: lake.tables() and come() > 200)
capture.kill()
capture.start()
capture.wait()
key = "(log, partition, sequence)"
lake.sql(f"SELECT count(*) - count(DISTINCT {key}) AS twice FROM telemetry")

# %% [markdown]
# **What just happened?** The capture was killed with SIGKILL in the midst of its work and started again. No message is
# there twice, and `capture.wait()` came back, so none is missing.
#
# The tables can be asked with SQL (DuckDB here; Spark, Databricks and Fabric read the same files):

# %% tags=["nbval-ignore-output"]
lake.sql("""
SELECT device, count(*) AS rows, round(avg(speed), 1) AS mph
FROM telemetry GROUP BY device ORDER BY device
""")

# %% [markdown]
# ### Exercise 1: how far off is each car's model?
#
# The table `predictions` has the columns `device`, `predicted`, `actual` and `error` (mph). Write a query that gives
# each `device` and its mean absolute error, as `error`.

# %% exercise="by_device"
# >>> solution
# stub: QUERY = ...  # "SELECT ... FROM predictions ..."
QUERY = "SELECT device, avg(abs(error)) AS error FROM predictions GROUP BY device"
# <<< solution

# >>> check
exercise.check_by_device(QUERY, lake)

# %% [markdown]
# Every batch makes a new **version** of a table, and old ones can be read: a model's rows stay what they were.

# %%
old = lake.version()
before = lake.count(version=old)
until(lambda: lake.version() > old)
assert lake.count(version=old) == before < lake.count()

# %% [markdown]
# ## 3 Train, 4 register
#
# The **registry** is MLflow's, in a SQLite file: it keeps versions of models. The *service* is the cloud's side of a
# rollout: it hears what the cars predict, and hands out models. Rows keep coming meanwhile.

# %%
registry = Registry.open(lab.state_dir / "registry")
service = Service(
    lab.service_connection_string,
    lab.events_connection_string,
    lab.storage_connection_string,
    registry,
    eventhub_name=lab.events_name,
    ca_file=lab.ca_file,
).start()

# %% [markdown]
# The search was notebook 05's lesson, so three seconds must do. **Predict:** the modules came with the blog's linear
# model. How much less far off will this one be on drives that it has not seen?

# %%
until(lambda: come() > 1_000 and len(service.errors) > 200)
source = LakeSource(lake)
rows = source(began)
train = partial(learn, budget=3)
learned = train(rows.frame)

# %% tags=["nbval-ignore-output"]
blog = service.errors.frame().query("not warmup")["error"].abs().mean()
print(f"the blog's model: {blog:.1f} mph off on the road")
print(f"{learned.estimator}: {learned.score.mae:.1f} mph, from {learned.rows:,} rows")

# %%
assert learned.score.mae < blog, "that is no better than the blog's linear model"

# %% [markdown]
# Now into the registry, with its metrics, its file, and where it comes from: the table's version, the data's
# fingerprint, the git commit.

# %%
plan = Plan(canary=0.5, rule=Rule(least_blocks=9, most_blocks=60), canary_rows=60)
watch = Watch(window=12, sigmas=2.0)
story = []
turns = {"plan": plan, "watch": watch, "train": train, "on_step": story.append}
loop = Loop(service, registry, source, **turns)
first = loop.register(learned, rows)
first.lineage.table_version == rows.table_version

# %% [markdown]
# ## 5 Push, 6 send
#
# The file goes to blob storage, and the module twins name its blob, version and SHA-256: no address, no secret. Each
# module asks for a signed address when it is ready, fetches, checks, tries the model in a process of its own, and swaps
# between two rows.

# %%
service.serve(first)
rollout.edges(service.edges())

# %%
twin = devices.get_module_twin("car-1", "ModuleFilterCar")
wanted = twin.properties.desired["model"]
assert "sig=" not in json.dumps(twin.properties.desired)
sorted(wanted), wanted["version"]

# %% [markdown]
# ### Exercise 2: who goes first?
#
# A new version is tried on a few cars, the **canary ring**. Choose a share of the fleet, rounded up and one at least;
# the same cars each time.


# %% exercise="canaries"
def canaries(fleet, share):
    """The cars that get a new version first."""
    # >>> solution
    # stub: ...  # import math; math.ceil rounds up
    import math

    return sorted(fleet)[: max(1, math.ceil(share * len(fleet)))]
    # <<< solution


# >>> check
exercise.check_canaries(canaries)

# %% [markdown]
# ## The world changes
#
# ### Exercise 3: when is it an alarm?
#
# The error comes in blocks of 20 s of driving. Say when a model has grown old: the mean of the last twelve blocks is
# more than half above what is `usual`. Fewer than twelve say nothing.


# %% exercise="alarm"
def alarm(errors, usual):
    """Whether the model has grown old; `errors`: each block's mean (mph), latest last."""
    # >>> solution
    last = errors[-12:]
    return len(last) == 12 and sum(last) / 12 > 1.5 * usual
    # <<< solution


# >>> check
exercise.check_alarm(alarm)

# %% [markdown]
# The loop's own detector weighs the scatter of blocks and roads as well. Now the cars are replaced by delivery vans:
# four gears in place of eight, half a ton on board.
#
# **Predict:** what does a model do that learned how fast *the other* engine turned?

# %%
with loop.watching():
    drive("van")
    drift = loop.wait(60)
assert drift is not None, "no alarm within a minute"
assert drift.error > drift.limit > drift.reference
known = come()

# %% tags=["nbval-ignore-output"]
print(drift)
rollout.error_over_time(service.errors.frame(), reference=drift.reference)

# %% [markdown]
# **What just happened?** Version 0 came with the modules, version 1 is yours. Then it met another car, and what it had
# learned of gears no longer held. The live error said so.
#
# ## And again
#
# Which edge serves what, live. To keep it beside you, right-click it and choose *Create New View for Cell Output*.

# %%
view = rollout_view.watch(service)
view

# %% [markdown]
# One call turns all arrows: train on the rows since the alarm, register, shadow, canary, fleet. First the vans drive
# for a while, so that there is something to learn from.
#
# **Predict:** for how many seconds will some cars serve one version, and some another?

# %%
until(lambda: come() > known + 600)
with loop.watching():
    turn = loop.turn(drift)
turn.result, turn.version.version

# %% tags=["nbval-ignore-output"]
for step in story:
    print(f"{step.time - story[0].time:4.0f} s  {step}")

# %% [markdown]
# **What just happened?** In the *shadow* the canaries ran the new version beside the old one, on the same rows, and
# answered with the old one. Rows that lie close together err alike, so blocks are what was counted. Then the canaries
# answered with it, and until all did, two versions were on the road.

# %% tags=["nbval-ignore-output"]
def latest():
    """The last two hundred predictions that reached the cloud."""
    return service.errors.frame().tail(200)


until(lambda: (latest()["version"] == turn.version.version).all())
rollout.error_over_time(service.errors.frame(), reference=drift.reference)

# %% tags=["nbval-ignore-output"]
assert latest()["error"].abs().mean() < drift.error, "the error has not fallen"
view.now()

# %% [markdown]
# ## A bad model, on purpose
#
# Somebody registers the old model once more, as a new version. It is a good file; it is only wrong for these cars.
#
# **Predict:** how far will it come: shadow, canary, fleet?

# %%
story.clear()
metrics = learned.reference.to_metrics()
bad = registry.register("car-speed", learned.content, metrics=metrics)
outcome = service.roll_out(bad, plan, on_step=story.append)
[step.stage for step in story if step.stage != "shadow"], outcome.result

# %%
registry.champion("car-speed").version, registry.get("car-speed", bad.version).fate

# %% [markdown]
# **What just happened?** It never answered a row: in the shadow it was not better, so it was taken back. A file that is
# damaged, or that crashes, is refused by the modules themselves, with the reason in their twins.
#
# And the registry remembers everything, the failure too:

# %% tags=["nbval-ignore-output"]
rollout.versions(registry.versions("car-speed"))

# %% [markdown]
# ## Past one machine
#
# The same code runs there; what changes is configuration:

# %%
places = pd.DataFrame(
    [
        ("IoT Hub", "IOTHUB_CONNECTION_STRING", "Azure IoT Hub"),
        ("built-in endpoint", "EVENTHUB_CONNECTION_STRING", "its Event Hub endpoint"),
        ("edge runtime", "lab.edge(...) is left out", "IoT Edge on each device"),
        ("blob storage", "AZURE_STORAGE_CONNECTION_STRING", "Azure Storage"),
        ("lake", "Capture.open(lake='abfss://...')", "Delta on a data lake"),
        ("training", "automl.search(engine='spark')", "a Spark cluster"),
        ("registry", "MLFLOW_TRACKING_URI", "an MLflow server"),
    ],
    columns=["here", "the line to change", "there"],
)
tables.Table(places, "Nobody has run this on Azure yet; the README has it.", words=True)

# %%
view.stop()
service.close()
capture.stop()
for edge in edges.values():
    edge.stop()

# %% [markdown]
# ## What you have done

# %% tags=["nbval-ignore-output"]
lab.progress()

# %% tags=["nbval-ignore-output"]
NAME = ""  # yours, if you like
lab.progress().certificate(NAME)

# %%
lab.close()

# %% [markdown]
# **You have now**
#
# - run four edge devices, deployed to by one deployment
# - stored what arrives in a lake, each message exactly once, and asked it with SQL
# - trained on the lake, registered the model, and rolled it out to the fleet
# - replaced the cars, seen the error rise, and let the loop bring it down again
# - rolled a bad model back, on purpose
#
# **Next**: your own car.csv, your own frames, your own hub. [00 Start here](00_start_here.ipynb) has the outline.
