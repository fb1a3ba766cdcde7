"""The IoT Edge simulator: an edge hub for one module that is being written, or a whole solution from its manifest.

Stands for `iotedgehubdev` (Azure/iotedgehubdev) and the utility module that it starts beside the edge hub
(Azure/iot-edge-testing-utility), without containers. `iotedge_lab.simulation` starts it and speaks to it.
"""

from iotedge_lab.edge.simulator.messages import DEFAULT_PORT, MESSAGES_PATH
from iotedge_lab.edge.simulator.outputs import Output
from iotedge_lab.edge.simulator.place import Setup, SimulatorFolder, SingleRun, SolutionRun

__all__ = [
    "DEFAULT_PORT",
    "MESSAGES_PATH",
    "Output",
    "Setup",
    "SimulatorFolder",
    "SingleRun",
    "SolutionRun",
]
