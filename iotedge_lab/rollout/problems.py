"""What stops a rollout that is nobody's mistake in the call: the hub, the storage account, the way to them."""

from __future__ import annotations

from iotedge_lab.errors import LabError


class RolloutProblem(LabError):
    """The hub or the storage account refused something, or does not answer; the message carries its words."""
