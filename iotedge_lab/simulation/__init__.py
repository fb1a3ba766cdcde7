"""The IoT Edge simulator as a notebook, a test or the terminal handles it: set up, started, posted to, read, stopped.

    simulator = lab.simulator("input1")                  # what `iotedgehubdev start -i "input1"` does
    with simulator.run("modules/EchoModule") as module:  # what `env $(... modulecred | xargs) python main.py` does
        simulator.post("hello world")
        simulator.wait_for_outputs()

The simulator is a process of its own (`iotedge_lab.edge.simulator`); it outlives the notebook as the hub does.
"""

from iotedge_lab.simulation.credentials import ModuleCredentials
from iotedge_lab.simulation.module_run import RunningModule
from iotedge_lab.simulation.setup import DEVICE, local_setup, reach, setup_of
from iotedge_lab.simulation.simulator import Simulator, check_inputs

__all__ = [
    "DEVICE",
    "ModuleCredentials",
    "RunningModule",
    "Simulator",
    "check_inputs",
    "local_setup",
    "reach",
    "setup_of",
]
