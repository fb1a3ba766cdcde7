"""The keys that the workload API signs with. Modules never see one: they send what is to be signed.

A key ring is any live mapping from a module's identity (`ModuleA`, `$edgeHub`) to its key: whoever keeps the
identities in step with the hub changes it, and the next request meets the change.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field

from iotedge_lab.wire.sas import decode_key


@dataclass(frozen=True, slots=True)
class ModuleKey:
    """What signs for one module: its generation id, as IoT Hub made it with the identity, and its key (base64)."""

    generation_id: str
    key: str = field(repr=False)

    def is_generation(self, generation_id: str) -> bool:
        """Whether `generation_id` is that of this identity, and not of one of the same name that is gone."""
        return hmac.compare_digest(self.generation_id.encode(), generation_id.encode(errors="replace"))

    def sign(self, data: bytes) -> str:
        """HMAC-SHA256 over `data`, in base64. Raises UsageError where the key is not base64."""
        return base64.b64encode(hmac.digest(decode_key(self.key), data, hashlib.sha256)).decode()


KeyRing = Mapping[str, ModuleKey]
