# %% [markdown]
# # 01 The edge simulator
#
# Debug a module on your desk, before any device runs it.
#
# **You will**
#
# - start an edge hub that serves a single module
# - run EchoModule against it, post to it, and read what comes out
# - write a module of your own: a function, and a few lines of the SDK around it
# - break it, read the error, and mend it
#
# **Before you start**: `make lab` has installed everything and opened this page. About 25 minutes.
# Works offline: yes.

# %%
import subprocess
import sys
import tempfile
from pathlib import Path

import requests

from iotedge_lab import Lab
from iotedge_lab.show import code, documents, program
from iotedge_lab.show.code import MODULES
from iotedge_lab.show.exercises import edge_simulator as exercise

# %% [markdown]
# ## An edge hub for one module
#
# A *module* is a program on an edge device: messages come in at its inputs, others go out at its outputs. Between
# modules stands the device's *edge hub*. The simulator is an edge hub alone.
#
# > The tool for it was `iotedgehubdev`, which needed Docker and root. In a terminal, without either:
# > ```bash
# > iotedge-lab simulator start -i "input-echo,input1"
# > ```

# %%
lab = Lab.open()
lab.activate()
simulator = lab.simulator("input-echo", "input1", port=0)
simulator

# %% [markdown]
# That is what `iotedgehubdev` says. It listens on port 53000, unless told otherwise; `port=0` takes any that is
# free.
#
# ## Who may connect
#
# A module proves by a key who it is. The simulator made one, for a module named `target`:

# %%
credentials = simulator.modulecred()
documents.connection_string(credentials.connection_string)

# %% [markdown]
# It is handed over in an environment variable, `EdgeHubConnectionString`; a second one,
# `EdgeModuleCACertificateFile`, says whose certificates to trust.
#
# ## Run a module
#
# `simulator.run` starts `python main.py` in the module's folder with these two variables. EchoModule sends on what
# it gets, and tells the time besides.
#
# > ```bash
# > env $(iotedge-lab simulator modulecred | xargs) python main.py
# > ```

# %%
module = simulator.run(MODULES / "EchoModule")
print(module.wait_for("Sent"))

# %% [markdown]
# ## Post to it
#
# Any program can post a message to an input, by HTTP. **Predict:** how many messages will have come out then?

# %%
posted = {"inputName": "input-echo", "data": "hello world"}
reply = requests.post(simulator.url, json=posted)
print(reply.status_code, reply.json())

# %%
simulator.wait_for_outputs(2)

# %% [markdown]
# **What just happened?** First the time, which it tells at once; then the echo. That is in quotes, because what you
# post reaches the module as JSON.
#
# A message may have properties, and `simulator.post` is the same call in short:

# %%
simulator.post("hello again", "input-echo", properties={"level": "calm"})
simulator.wait_for_outputs(1)

# %% [markdown]
# On a device the agent stops a module by `SIGTERM`. EchoModule then says goodbye and ends with exit code 0:

# %%
module.stop()
module.exit_code

# %% [markdown]
# ## A module of your own
#
# ### Exercise 1: who is speeding?
#
# To `input1` come a car's readings, such as `{"speed": 30}`. For more than 50 mph the module is to send
# `{"alert": "speeding", "speed": ...}`, with that speed; otherwise nothing (`None`). Write what it makes of a reading.


# %% exercise="judge"
def judge(reading):
    """The alert for a reading, or None."""
    # >>> solution
    if reading["speed"] > 50:
        return {"alert": "speeding", "speed": reading["speed"]}
    return None
    # <<< solution


# >>> check
exercise.check_judge(judge)

# %% [markdown]
# Now the program around it. This is a whole module, as an edge device would run it:

# %%
folder = tempfile.TemporaryDirectory()
speed_alert = program.write(Path(folder.name, "SpeedAlert"), judge)
code.excerpt(speed_alert)

# %% [markdown]
# It names no hub and no key; `create_from_edge_environment` finds both in the environment. **Predict:** three
# readings go in. How many messages come out?

# %%
module = simulator.run(speed_alert)
module.wait_for("Connected")
for speed in (30, 60, 80):
    simulator.post({"speed": speed}, "input1")
simulator.wait_for_outputs(2)

# %% [markdown]
# **What just happened?** 30 mph made no message. And `input1` and `output1` are names that the module chose; what lies
# beyond them it does not know.
#
# ## Break it
#
# Somebody sends a word where a reading belongs, and then a reading. **Predict:** will the module live on? Will the
# second message be lost?

# %%
simulator.post("hello", "input1")
simulator.post({"speed": 99}, "input1")
simulator.wait_for_outputs(1)

# %% [markdown]
# It lives on. But what became of the word? A module says it in its log, which on your desk is its output:

# %%
module.stop()
print(module.output.replace(folder.name, "..."))

# %% [markdown]
# **What just happened?** The last line says what went wrong, the one above it where. The program caught the error and
# went on. Without its `except`, the SDK says "Unable to handle".
#
# ### Exercise 2: mend it
#
# As `judge`, but what is no reading gives `None`: a reading is a dictionary, and its speed is a number.


# %% exercise="judge_safely"
def judge_safely(reading):
    """The alert for a reading, or None; what is no reading is passed over."""
    # >>> solution
    speed = reading.get("speed") if isinstance(reading, dict) else None
    if isinstance(speed, int | float) and speed > 50:
        return {"alert": "speeding", "speed": speed}
    return None
    # <<< solution


# >>> check
exercise.check_judge_safely(judge_safely)

# %% [markdown]
# Write, run, post: that is the whole round, and it takes a second. Post first, this time: an edge hub keeps messages
# until their module takes them. **Predict:** what comes out?

# %%
for data in ("hello", [60], {"rpm": 1290}, {"speed": "fast"}, {"speed": 99}):
    simulator.post(data, "input1")
module = simulator.run(program.write(speed_alert, judge_safely))
simulator.wait_for_outputs(1)

# %%
module.wait_for("Connected")
module.stop()
assert "Error" not in module.output, module.output

# %% [markdown]
# ## Two errors that everybody meets
#
# A message for an input that the simulator was not started with:

# %%
posted = {"inputName": "input2", "data": "hello"}
reply = requests.post(simulator.url, json=posted)
print(reply.status_code, reply.json()["error"])

# %% [markdown]
# And a module that is run without the two variables:

# %%
command = [sys.executable, "main.py"]
ended = subprocess.run(command, cwd=speed_alert, capture_output=True, text=True)
print(ended.stderr.splitlines()[-1])

# %%
simulator.stop()
folder.cleanup()

# %% [markdown]
# **You have now**
#
# - started an edge hub for a single module, and read its words
# - run EchoModule with nothing but two variables, posted to it and read what came out
# - written a module of your own, and seen that messages wait for it
# - broken it, found the error in its output, and mended it
#
# **Next**: [02 IoT Hub setup](02_iot_hub_setup.ipynb), in which a module is deployed to a device.
