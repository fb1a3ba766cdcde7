"""The workload API: how a module proves to its edge hub who it is without ever holding a key."""

from iotedge_lab.edge.workload.keys import KeyRing, ModuleKey
from iotedge_lab.edge.workload.server import WorkloadServer

__all__ = ["KeyRing", "ModuleKey", "WorkloadServer"]
