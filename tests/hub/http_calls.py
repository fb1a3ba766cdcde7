"""HTTPS calls of a device or module, with its own token."""

import time

import requests

from iotedge_lab.rest import quote
from iotedge_lab.wire import sas
from iotedge_lab.wire.connection_string import ConnectionString

VERSION = "2021-04-12"


class Caller:
    """A device or module that speaks HTTPS. `token` may be set to another one."""

    def __init__(self, lab, device, module=None):
        self.lab = lab
        self.path = f"/devices/{quote(device)}" + (f"/modules/{quote(module)}" if module else "")
        key = ConnectionString.parse(lab.device_connection_string(device, module)).shared_access_key
        resource = f"{lab.hostname}/devices/{device}" + (f"/modules/{module}" if module else "")
        self.token = sas.build(resource, key, int(time.time()) + 600)

    def call(self, method, path, *, headers=None, version=VERSION, query="", **options):
        """The answer to one request."""
        url = f"https://{self.lab.hostname}:{self.lab._told.https_port}{path}?api-version={version}{query}"
        return requests.request(
            method,
            url,
            headers={"Authorization": self.token} | (headers or {}),
            verify=str(self.lab.ca_file),
            timeout=30,
            **options,
        )

    def send(self, body, headers=None, **options):
        """Send one message, or a batch."""
        return self.call("POST", f"{self.path}/messages/events", headers=headers, data=body, **options)
