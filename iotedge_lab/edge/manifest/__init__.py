"""Deployment manifests: JSON in, checked values out; no file, no process, no clock."""

from iotedge_lab.edge.manifest.changes import ModuleChanges, RouteChanges, diff, diff_routes
from iotedge_lab.edge.manifest.create_options import CreateOptions
from iotedge_lab.edge.manifest.images import ImageTable, plain_name
from iotedge_lab.edge.manifest.model import (
    AgentConfig,
    DeploymentManifest,
    HubConfig,
    ModuleSpec,
    PullPolicy,
    RestartPolicy,
    Status,
)
from iotedge_lab.edge.manifest.mounts import Link, Mount, resolve_mounts
from iotedge_lab.edge.manifest.reading import load, read_agent, read_hub

__all__ = [
    "AgentConfig",
    "CreateOptions",
    "DeploymentManifest",
    "HubConfig",
    "ImageTable",
    "Link",
    "ModuleChanges",
    "ModuleSpec",
    "Mount",
    "PullPolicy",
    "RestartPolicy",
    "RouteChanges",
    "Status",
    "diff",
    "diff_routes",
    "load",
    "plain_name",
    "read_agent",
    "read_hub",
    "resolve_mounts",
]
