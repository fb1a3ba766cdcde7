# %% [markdown]
# # 04 The camera simulator
#
# A dash camera films the drive and leaves its videos in a folder on the device. Not one picture travels as a message.
#
# **You will**
#
# - look through the windscreen: the road as the car's own telemetry has it, in three kinds of weather
# - work out in bytes, messages and milliseconds why frames do not go to the hub by MQTT
# - make videos of frames, play one, and read them again, from a folder in which others write
# - share a folder of an edge device between modules, deploy ModuleSimulatorCamera, and find its videos there
#
# **Before you start**: `make lab` has installed everything and opened this page;
# [03 Car simulator](03_car_simulator.ipynb) has the drive, [02 IoT Hub setup](02_iot_hub_setup.ipynb) explains edge and
# manifest. About 45 minutes. Works offline: yes.

# %%
import json
import shutil
import tempfile
import time
from datetime import UTC, datetime
from logging import getLogger
from pathlib import Path

import cv2
import pandas as pd
from azure.eventhub import EventHubConsumerClient
from azure.iot.device import IoTHubDeviceClient, Message
from azure.iot.hub import IoTHubConfigurationManager, IoTHubRegistryManager
from azure.iot.hub.models import CloudToDeviceMethod, ConfigurationContent
from azure.iot.hub.models import Twin, TwinProperties

# %%
from iotedge_lab import Lab
from iotedge_lab.camera.codecs import codec, working_codecs
from iotedge_lab.camera.frames import FrameFolder
from iotedge_lab.camera.scene import WEATHERS, Scene
from iotedge_lab.camera.video import FolderReader, read_video, write_video
from iotedge_lab.car import drives
from iotedge_lab.edge.manifest import Mount, load, mounts
from iotedge_lab.show import frames, video
from iotedge_lab.show.code import MODULES
from iotedge_lab.show.exercises import camera_simulator as exercise

# %% [markdown]
# ## Through the windscreen
#
# The blog had 30 pictures of somebody's dash camera. Here the road is painted from the drive of notebook 03: its speed
# moves the road, its steering bends it. What stands and walks beside it follows from a seed.

# %%
rows = list(drives.rows(drives.car_csv()))
road = Scene(rows, seed=7)
road

# %% [markdown]
# **Predict:** after 70 seconds the car stands at a light. What will cross the road before it?

# %%
picture = road.frame(70.4)
frames.frame(picture.image, "A crossing by day: cars from the side, a walker, a cyclist.")


# %% [markdown]
# Picture and CAN bus agree, since both come from the same row. Here are two more moments, each with its row:

# %%
def seen_at(seconds, words):
    """The frame of a moment of the drive, with what the car's sensors said then."""
    row = min(rows, key=lambda row: abs(row.seconds - seconds))
    said = f"{seconds} s: {row.speed:.0f} mph, steering {row.steering_angle:+.0f} degrees"
    image = road.frame(seconds).image
    return frames.frame(image, f"{words} {said}.", caption=said, width=360)


# %%
frames.side_by_side(
    seen_at(16, "A city street with houses on both sides, straight ahead."),
    seen_at(313, "A junction in a turn to the right, a blue car from the left."),
)

# %% [markdown]
# **What just happened?** Negative steering is to the right: there the car turns into another street. The same street in
# other weather:

# %%
streets = {name: Scene(rows, seed=7, weather=name).frame(16).image for name in WEATHERS}
frames.strip(streets, "The city street with its houses:")

# %% [markdown]
# A painted road has one more advantage: who paints it knows what is in it. Each frame comes with its *ground truth*,
# which will be the judge of a detector in notebook 06.

# %%
truth = [each for each in picture.truth if each.visible > 0.6]
frames.frame(picture.image, "The crossing with its ground truth.", boxes=truth)

# %%
known = [(each.label, each.box.rounded(), f"{each.visible:.0%}") for each in truth]
pd.DataFrame(known, columns=["label", "left, top, right, bottom (pixels)", "of it is seen"])

# %% [markdown]
# ### Frames of your own
#
# A folder of PNG or JPEG files does as well as the painted road, whatever their size. If you have none, here are five
# of ours, of an odd size, and one that was cut short on its way:

# %%
workplace = tempfile.TemporaryDirectory()
ours = Path(workplace.name)
for number in range(1, 6):
    small = cv2.resize(road.frame(10.0 * number).image, (321, 181))
    cv2.imwrite(str(ours / f"frame{number}.png"), small)
whole = (ours / "frame1.png").read_bytes()
_ = (ours / "frame6.png").write_bytes(whole[: len(whole) // 2])

# %%
FRAMES = ours  # or Path("...") of a folder of yours
getLogger("iotedge_lab").setLevel("ERROR")  # what is left out is told below
own = FrameFolder(FRAMES)
pictures = [named.image for named in own.frames()]
print(len(pictures), "frames of", pictures[0].shape, "and left out:")
print(own.broken)

# %% [markdown]
# ## Why not MQTT?
#
# **Predict:** a frame of 640 x 360 pixels, three bytes each. Does it fit into a message of an IoT Hub, which has 256 KB
# at the most?

# %%
lab = Lab.open()
lab.activate()
lab.reset()
registry = IoTHubRegistryManager.from_connection_string(lab.service_connection_string)

# %%
registry.create_device_with_sas("camera-1", None, None, "enabled")
camera = IoTHubDeviceClient.create_from_connection_string(
    lab.device_connection_string("camera-1"), **lab.client_options
)
try:
    camera.send_message(Message(picture.image.tobytes()))
except ValueError as refusal:
    print(f"{picture.image.nbytes:,} bytes: {refusal}")

# %% [markdown]
# The SDK refuses it before it even connects. As JPEG it fits:

# %%
camera.shutdown()
jpeg = cv2.imencode(".jpg", picture.image)[1].tobytes()
assert len(jpeg) < 256 * 1024
print(f"as JPEG: about {len(jpeg) / 1000:.0f} KB")

# %% [markdown]
# ### Exercise 1: what the hub counts
#
# So one could send JPEG. But a hub meters: it counts each step of 4 KB as a message, the free tier each step of 0.5 KB.
# A message of 6 KB counts as two. How is that worked out?


# %% exercise="metered"
def metered(message_bytes, step_bytes):
    """As how many messages the hub counts one."""
    # >>> solution
    # stub: return ...
    return -(-message_bytes // step_bytes)
    # <<< solution


# >>> check
exercise.check_metered(metered)

# %% [markdown]
# **Predict:** the free tier allows 8,000 messages a day, S1 400,000. How many seconds of video at 24 frames a second
# is that?

# %% tags=["nbval-ignore-output"]
for tier, allowance, step in (("free", 8_000, 512), ("S1", 400_000, 4096)):
    count = metered(len(jpeg), step)
    seconds = allowance / (24 * count)
    print(f"{tier}: {count} messages a frame, used up after {seconds:,.0f} s of video")

# %% [markdown]
# A word about the frame, "a car, there", is shorter:

# %%
word = json.dumps({"label": "Car", "score": 0.87, "box": [133, 160, 340, 228], "time": 7})
print(f"{len(word)} bytes, {metered(len(word), 512)} message even in the free tier")
print(f"the JPEG has more than {len(jpeg) // len(word) // 100 * 100} times as many")

# %% [markdown]
# And it takes time. At 24 frames a second the next one is there after 41.7 ms. How long does a JPEG take, on an uplink
# of 5 Mbit/s, before anybody in the cloud can even begin to look at it?

# %%
uplink = len(jpeg) * 8 / 5e6 * 1000
assert uplink > 1000 / 24, "it would keep up"
print(f"about {uplink:.0f} ms on the way, {1000 / 24:.1f} ms until the next frame")

# %% [markdown]
# So **frames stay on the device.** Its modules share a folder, and the camera writes videos into it.
#
# ## A video
#
# The blog lets ffmpeg show one picture a second, at 30 frames a second. **Predict:** how many frames has a video of our
# five pictures then? And what becomes of their odd size?

# %%
slides = write_video(pictures, Path(workplace.name, "slides.mp4"), rate=1, fps=30)
print(f"{slides.frames} frames, {slides.seconds} s, {slides.width} x {slides.height} px")

# %% [markdown]
# **What just happened?** Each picture was repeated for a second. Codecs want even sizes, so a black row and column were
# added. Now the road at 24 frames a second, in each codec that is really here:

# %%
def moving(seconds):
    """The road from second 10 on, frame by frame: no whole video lies in memory."""
    return (each.image for each in road.frames(24, begin=10, seconds=seconds))

# %% tags=["nbval-ignore-output"]
listed = []
for name in working_codecs():
    suffix, played = codec(name).suffix, codec(name).browser
    path = Path(workplace.name, name + suffix)
    size = write_video(moving(2), path, rate=24, fps=24, codec_name=name).size
    listed.append((name, suffix, round(size / 48 / 1000), "yes" if played else "no"))
pd.DataFrame(listed, columns=["codec", "file", "KB a frame", "browsers play it"])

# %% [markdown]
# A video is smaller than its JPEGs: it stores what changes. A browser plays VP8, so this one is for you. It lies beside
# the notebook, not in it.

# %%
path = video.folder() / "road.webm"
film = write_video(moving(6), path, rate=24, fps=24, codec_name="vp8")
video.player(film.path, "Six seconds of driving: past a cyclist and into a city.")

# %% [markdown]
# ## Reading it again
#
# A reader gives frame by frame, each with its time. That is what the filter of notebook 06 will do.

# %%
reader = read_video(film.path)
for frame in (next(reader), next(reader), next(reader)):
    print(frame.number, f"{frame.seconds:.3f} s", frame.image.shape)

# %% [markdown]
# ### Exercise 2: one frame a second
#
# Often one frame a second is enough. Keep the first frame of each second. Each frame has its `.seconds`; frame rates
# differ, so do not count.


# %% exercise="one_a_second"
def one_a_second(frames):
    """The first frame of each second of a video."""
    kept, last = [], None
    for frame in frames:
        # >>> solution
        # stub: ...  # keep it, if its second is another than the last one's
        second = int(frame.seconds)
        if second != last:
            kept.append(frame)
        last = second
        # <<< solution
    return kept


# >>> check
exercise.check_one_a_second(one_a_second)

# %%
few = list(one_a_second(read_video(film.path)))
shown = {f"{each.seconds:.0f} s": each.image for each in few[::2]}
frames.strip(shown, "The road as the video shows it after")

# %% [markdown]
# ### A folder in which others write
#
# A reader must never see half a file. So the writer gives a file its name when it is whole. But not everybody is so
# careful. **Predict:** what does a reader make of a video that was cut short, and of a shopping list?

# %%
shared = Path(workplace.name, "shared")
shared.mkdir()
shutil.copy(film.path, shared / "whole.webm")
(shared / "half.webm").write_bytes(film.path.read_bytes()[: film.size // 2])
_ = (shared / "list.mp4").write_text("bread, butter")

# %% tags=["nbval-ignore-output"]
problems = []
follower = FolderReader(shared, problems.append)
for look in (1, 2):
    read = [frame.path.name for frame in follower.poll()]
    print(f"look {look}:", {name: read.count(name) for name in sorted(set(read))})
for problem in problems:
    print(problem.reason)

# %%
assert {problem.path.name for problem in problems} == {"half.webm", "list.mp4"}

# %% [markdown]
# **What just happened?** What could be read was read, the rest was told, and no file twice. `list.mp4` got a second look
# first: perhaps somebody was still writing it.
#
# ## On the edge
#
# Now a camera on an edge device. Its manifest has a filter, too, whose turn comes in notebook 06.

# %%
registry.create_device_with_sas("camera-edge", None, None, "enabled", iot_edge=True)
registry.update_twin("camera-edge", Twin(tags={"iotedgeLab": True}))
template = MODULES / "ModuleSimulatorCamera" / "deployment.template.json"
manifest = load(template.read_text()).content["modulesContent"]
modules = manifest["$edgeAgent"]["properties.desired"]["modules"]
routes = manifest["$edgeHub"]["properties.desired"]["routes"]
del modules["ModuleFilterCamera"], manifest["ModuleFilterCamera"]
del routes["ModuleFilterCameraToIoTHub"]
modules["ModuleSimulatorCamera"]["settings"]

# %% [markdown]
# ### Exercise 3: a shared folder
#
# A module sees only `/app`, a folder of its own. `createOptions` are Docker's: a *mount* makes a folder of the device
# appear in there. The blog mounts the device's whole `/tmp`. Do it better: the device's `/srv/camera` is to be the
# module's `/app/stream`.

# %% exercise="mount"
# >>> solution
# stub: MOUNT = ...  # {"Type": ..., "Source": ..., "Target": ...}
MOUNT = {"Type": "bind", "Source": "/srv/camera", "Target": "/app/stream"}
# <<< solution

# >>> check
exercise.check_mount(MOUNT)

# %%
options = {"HostConfig": {"Mounts": [MOUNT]}}
modules["ModuleSimulatorCamera"]["settings"]["createOptions"] = json.dumps(options)
desired = {"every": 60, "seconds": 5, "codec": "vp8", "seed": 7, "reportSeconds": 1}
manifest["ModuleSimulatorCamera"] = {"properties.desired": desired}

# %%
began = datetime.now(UTC)
deployments = IoTHubConfigurationManager.from_connection_string(
    lab.service_connection_string
)
deployments.apply_configuration_on_edge_device(
    "camera-edge", ConfigurationContent(modules_content=manifest)
)
edge = lab.edge("camera-edge")
edge.wait_until_running("ModuleSimulatorCamera")

# %% [markdown]
# The module films five seconds of road each minute, and tells the hub about each video: its name and size, no picture.


# %%
def told(video=None):
    """What the camera tells of a video, by its name, or of the first one since `began`."""
    found, give_up = [], time.monotonic() + 60
    client = EventHubConsumerClient.from_connection_string(
        lab.events_connection_string, "$Default", eventhub_name=lab.events_name
    )

    def on_event(context, event):
        kind = (event.properties or {}).get(b"messageType") if event else None
        if kind == b"video":
            word = json.loads(event.body_as_str())
            found.extend([word] if video in (None, word["video"]) else [])
        if found or time.monotonic() > give_up:
            client.close()

    client.receive(on_event, starting_position=began, max_wait_time=1, prefetch=10)
    assert found, "not in a minute; look at edge.logs(...)"
    return found[0]


# %% tags=["nbval-ignore-output"]
first = told()
first

# %% [markdown]
# On a real device you would look into `/srv/camera`. This device is a folder of the lab, and its disk is in there:

# %%
device = lab.state_dir / "edges" / "camera-edge"
disk = mounts.shared_folder(Mount("/srv/camera", "/app/stream"), device)
sorted(path.name for path in disk.iterdir())

# %%
copied = shutil.copy(disk / first["video"], video.folder() / "camera.webm")
video.player(copied, "What the camera on the edge device has filmed.")

# %% [markdown]
# The same folder can be mounted into another module: that is how the filter of notebook 06 gets at the videos, without
# a byte on any network.
#
# ### Another weather
#
# **Predict:** the camera is told `dusk` by its twin, and to film at once by a direct method. Which part of the drive
# will it show?

# %%
dusk = Twin(properties=TwinProperties(desired={"weather": "dusk"}))
registry.update_module_twin("camera-edge", "ModuleSimulatorCamera", dusk)


def ask_camera(method):
    """Call a direct method of the module; what it answers."""
    call = CloudToDeviceMethod(method_name=method, payload=None)
    to = ("camera-edge", "ModuleSimulatorCamera", call)
    return registry.invoke_device_module_method(*to).payload


# %%
give_up = time.monotonic() + 60
while ask_camera("status")["weather"] != "dusk":
    assert time.monotonic() < give_up, "not in a minute; look at edge.logs(...)"
    time.sleep(0.1)
asked = ask_camera("record")

# %% tags=["nbval-ignore-output"]
second = told(asked["video"])
{name: second[name] for name in ("video", "weather", "seed", "begin", "end")}

# %% [markdown]
# The message says which drive, seed, weather and seconds. So anybody can paint the same frame again. On the left what
# came out of the video, on the right our own painting, with its ground truth:

# %%
for filmed in read_video(disk / second["video"]):
    pass  # until the last frame
there = Scene(rows, seed=second["seed"], weather=second["weather"])
painted = there.frame(second["begin"] + filmed.seconds)
apart = cv2.absdiff(filmed.image, painted.image).mean()
assert apart < 8, f"the pictures differ by {apart:.1f} levels of 255"

# %%
left = frames.frame(filmed.image, "The last frame of the video at dusk.", width=360)
truth = [each for each in painted.truth if each.visible > 0.6]
words = "The same, painted, with ground truth."
right = frames.frame(painted.image, words, boxes=truth, width=360)
frames.side_by_side(left, right)

# %% tags=["nbval-ignore-output"]
message = len(json.dumps(second))
print(f"on the disk: {second['bytes']:,} bytes; sent to the hub: {message}, that is")
print(f"one byte in {second['bytes'] / message:,.0f}")

# %%
edge.stop()
workplace.cleanup()

# %% [markdown]
# **You have now**
#
# - looked through the windscreen, by day, at dusk and in rain, with the car's own speed and steering
# - worked out what frames as messages would cost, and seen the SDK refuse one
# - made videos in several codecs, played one, and read them, broken ones too
# - shared a folder by `createOptions`, deployed the camera, and found its videos and its words about them
#
# **Next**: [05 AutoML on the car's data](05_automl_car_model.ipynb). What watches these videos is in
# [06 The camera filter](06_camera_filter.ipynb).
