"""The edge agent: modules as processes, their logs, what is reported of them, and the agent's direct methods."""

from iotedge_lab.edge.agent.environment import ModuleIdentity
from iotedge_lab.edge.agent.logs import LogLimits, ModuleLog
from iotedge_lab.edge.agent.methods import MethodAnswer, answer
from iotedge_lab.edge.agent.report import DesiredStatus
from iotedge_lab.edge.agent.restarts import RuntimeStatus
from iotedge_lab.edge.agent.state import ModuleState
from iotedge_lab.edge.agent.supervisor import Supervisor

__all__ = [
    "DesiredStatus",
    "LogLimits",
    "MethodAnswer",
    "ModuleIdentity",
    "ModuleLog",
    "ModuleState",
    "RuntimeStatus",
    "Supervisor",
    "answer",
]
