"""What the camera modules' tests share: their folders, their packages, a module as a process, and what it reports."""

import sys
import threading
from pathlib import Path

from azure.iot.hub import IoTHubRegistryManager
from azure.iot.hub.models import CloudToDeviceMethod, Twin, TwinProperties

import iotedge_lab

MODULES = Path(iotedge_lab.__file__).parent / "modules"
SIMULATOR, FILTER = "ModuleSimulatorCamera", "ModuleFilterCamera"
DEVICE = "camera"
PATIENCE = 60.0  # s that a test waits for what must come

for name in (SIMULATOR, FILTER):
    sys.path.insert(0, str(MODULES / name))


def identity(lab, module):
    """Make the edge device and the module at the hub; the variables by which the module finds it."""
    rest = lab.rest()
    rest.call("PUT", f"/devices/{DEVICE}", {"deviceId": DEVICE, "capabilities": {"iotEdge": True}})
    rest.call("PUT", f"/devices/{DEVICE}/modules/{module}", {"deviceId": DEVICE, "moduleId": module})
    return {
        "EdgeHubConnectionString": (
            f"{lab.device_connection_string(DEVICE, module)};GatewayHostName={lab.hostname}"
        ),
        "EdgeModuleCACertificateFile": str(lab.ca_file),
    }


class Cloud:
    """The vendor's service client, with one module's twin and methods."""

    def __init__(self, lab, module):
        self.registry = IoTHubRegistryManager.from_connection_string(lab.service_connection_string)
        self._module = module

    def desire(self, **desired):
        """Change desired properties; the twin's reported ones once the module has taken them."""
        patch = Twin(properties=TwinProperties(desired=desired))
        twin = self.registry.update_module_twin(DEVICE, self._module, patch, "*")
        version = twin.properties.desired["$version"]
        return self.reported(lambda found: found.get("desiredVersion") == version)

    def reported(self, condition):
        """The reported properties, once they fulfil a condition."""
        for _ in range(int(PATIENCE / 0.1)):
            found = self.registry.get_module_twin(DEVICE, self._module).properties.reported
            if condition(found):
                return found
            threading.Event().wait(0.1)
        raise AssertionError(found)

    def invoke(self, name, payload=None):
        """Status and payload of a method."""
        method = CloudToDeviceMethod(method_name=name, payload=payload, response_timeout_in_seconds=30)
        answer = self.registry.invoke_device_module_method(DEVICE, self._module, method)
        return answer.status, answer.payload
