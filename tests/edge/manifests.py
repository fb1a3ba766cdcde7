"""Manifests as they lie in solutions made for Docker: the car's and the camera's."""

import copy

CAR = {
    "$schema-template": "1.0.0",
    "modulesContent": {
        "$edgeAgent": {
            "properties.desired": {
                "schemaVersion": "1.0",
                "runtime": {
                    "type": "docker",
                    "settings": {
                        "minDockerVersion": "v1.25",
                        "loggingOptions": "",
                        "registryCredentials": {
                            "lab": {
                                "username": "$CONTAINER_REGISTRY_USERNAME_lab",
                                "password": "${CONTAINER_REGISTRY_PASSWORD_lab}",
                                "address": "lab.azurecr.io",
                            }
                        },
                    },
                },
                "systemModules": {
                    "edgeAgent": {
                        "type": "docker",
                        "settings": {
                            "image": "mcr.microsoft.com/azureiotedge-agent:1.0",
                            "createOptions": {},
                        },
                    },
                    "edgeHub": {
                        "type": "docker",
                        "status": "running",
                        "restartPolicy": "always",
                        "settings": {
                            "image": "mcr.microsoft.com/azureiotedge-hub:1.0",
                            "createOptions": {
                                "HostConfig": {
                                    "Binds": ["/var/edge/storage:/iotedge/storage"],
                                    "PortBindings": {"8883/tcp": [{"HostPort": "8883"}]},
                                }
                            },
                        },
                    },
                },
                "modules": {
                    "ModuleSimulatorCar": {
                        "version": "1.0",
                        "type": "docker",
                        "status": "running",
                        "restartPolicy": "always",
                        "settings": {"image": "${MODULES.ModuleSimulatorCar}", "createOptions": {}},
                    },
                    "ModuleFilterCar": {
                        "version": "1.0",
                        "type": "docker",
                        "status": "running",
                        "restartPolicy": "on-failure",
                        "env": {
                            "MODEL": {"value": "speed.onnx"},
                            "BATCH": {"value": 1},
                            "TRACE": {"value": False},
                        },
                        "settings": {
                            "image": "${MODULES.ModuleFilterCar.amd64}",
                            "createOptions": '{"Env": ["MODEL=other.onnx", "LEVEL=info"]}',
                        },
                    },
                },
            }
        },
        "$edgeHub": {
            "properties.desired": {
                "schemaVersion": "1.0",
                "routes": {
                    "ModuleSimulatorCarToFilter": (
                        "FROM /messages/modules/ModuleSimulatorCar/outputs/* INTO "
                        'BrokeredEndpoint("/modules/ModuleFilterCar/inputs/input-simulator-car")'
                    ),
                    "ModuleFilterCarToIoTHub": "FROM /messages/modules/ModuleFilterCar/outputs/* INTO $upstream",
                },
                "storeAndForwardConfiguration": {"timeToLiveSecs": 7200},
            }
        },
        "ModuleSimulatorCar": {"properties.desired": {"interval": 1.0, "file": "data/car.csv"}},
    },
}

CAMERA_OPTIONS = {
    "HostConfig": {
        "Privileged": True,
        "Mounts": {"Type": "bind", "Source": "/tmp", "Target": "/app/stream/"},
        "PortBindings": {},
    },
    "Cmd": ["--frames", "30"],
    "ExposedPorts": {"8080/tcp": {}},
}

CAMERA = {
    "$schema-template": "2.0.0",
    "modulesContent": {
        "$edgeAgent": {
            "properties.desired": {
                "schemaVersion": "1.1",
                "runtime": {"type": "docker", "settings": {"minDockerVersion": "v1.25"}},
                "systemModules": copy.deepcopy(
                    CAR["modulesContent"]["$edgeAgent"]["properties.desired"]["systemModules"]
                ),
                "modules": {
                    "ModuleSimulatorCamera": {
                        "version": "${VERSION}",
                        "type": "docker",
                        "status": "running",
                        "restartPolicy": "always",
                        "startupOrder": 0,
                        "settings": {
                            "image": "${REGISTRY}/modulesimulatorcamera:0.0.1-amd64",
                            "createOptions": CAMERA_OPTIONS,
                        },
                    },
                    "ModuleFilterCamera": {
                        "version": "${VERSION}",
                        "type": "docker",
                        "status": "stopped",
                        "restartPolicy": "never",
                        "startupOrder": 1,
                        "imagePullPolicy": "never",
                        "settings": {
                            "image": "${REGISTRY}/modulefiltercamera:0.0.1-amd64",
                            "createOptions": '{"HostConfig":{"Bi',
                            "createOptions01": 'nds":["/tmp:/app/stream:ro","models:/app/',
                            "createOptions02": 'models"]}}',
                        },
                    },
                },
            }
        },
        "$edgeHub": {
            "properties.desired": {
                "schemaVersion": "1.1",
                "routes": {
                    "alarms": {
                        "route": "FROM /messages/modules/ModuleFilterCamera/outputs/alarms INTO $upstream",
                        "priority": 0,
                        "timeToLiveSecs": 86400,
                    },
                    "frames": {
                        "route": "FROM /messages/modules/ModuleFilterCamera/* INTO $upstream",
                        "timeToLiveSecs": 0,
                    },
                    "rest": "FROM /messages/* INTO $upstream",
                },
                "storeAndForwardConfiguration": {"timeToLiveSecs": 7200},
            }
        },
    },
}

CAMERA_VALUES = {"REGISTRY": "lab.azurecr.io:443/edge", "VERSION": "2.1"}


def car(**changes):
    """The car's manifest, to be changed: `modules=...` and `routes=...` take the place of those parts."""
    made = copy.deepcopy(CAR)
    agent = made["modulesContent"]["$edgeAgent"]["properties.desired"]
    hub = made["modulesContent"]["$edgeHub"]["properties.desired"]
    for key, value in changes.items():
        (agent if key in agent else hub)[key] = value
    return made


def module(**changes):
    """A module's part of a manifest; settings are given by name beside the rest."""
    settings = {
        key: changes.pop(key) for key in list(changes) if key == "image" or key.startswith("createOptions")
    }
    return {
        "version": "1.0",
        "type": "docker",
        "status": "running",
        "restartPolicy": "always",
        "settings": {"image": "modulea:1.0", "createOptions": "{}", **settings},
        **changes,
    }
