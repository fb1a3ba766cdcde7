"""What ModuleFilterCar's tests share: its folder and package, its cloud side, a storage account, and models."""

import hashlib
import json
import sys
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from azure.iot.hub import IoTHubConfigurationManager, IoTHubRegistryManager
from azure.iot.hub.models import CloudToDeviceMethod, ConfigurationContent, Twin, TwinProperties
from azure.storage.blob import BlobSasPermissions, BlobServiceClient, generate_blob_sas

import iotedge_lab
from iotedge_lab.car.features import PLAIN, RECIPE
from iotedge_lab.edge.manifest import load

FOLDER = Path(iotedge_lab.__file__).parent / "modules" / "ModuleFilterCar"
DEVICE, MODULE = "car", "ModuleFilterCar"
PATIENCE = 60.0  # s that a test waits for what must come
sys.path.insert(0, str(FOLDER))


def changed(change=lambda proto: None):
    """The module's own model, changed by a function; its bytes."""
    import onnx

    proto = onnx.load(str(FOLDER / "model.onnx"))
    change(proto)
    return proto.SerializeToString()


def offset(mph):
    """The module's own model, and so many miles an hour more: its predictions tell which one it was."""

    def change(proto):
        for node in proto.graph.node:
            for attribute in node.attribute:
                if attribute.name == "intercepts":
                    attribute.floats[0] += mph

    return changed(change)


def of_nodes(nodes, constants, recipe=PLAIN):
    """A model of these nodes, with what the edge must know of it; its bytes."""
    from onnx import TensorProto, helper

    width = len(recipe.names)
    graph = helper.make_graph(
        nodes,
        "speed",
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, [None, width])],
        [helper.make_tensor_value_info("speed", TensorProto.FLOAT, [None, 1])],
        initializer=constants,
    )
    domains = [helper.make_opsetid("", 15), helper.make_opsetid("ai.onnx.ml", 3)]
    proto = helper.make_model(graph, opset_imports=domains, ir_version=8)
    helper.set_model_props(proto, {"recipe": json.dumps(recipe.to_dict())})
    return proto.SerializeToString()


def of_sum(recipe=RECIPE):
    """A model that looks back some seconds: a hundredth of the sum of all its features."""
    from onnx import TensorProto, helper

    return of_nodes(
        [
            helper.make_node("ReduceSum", ["features", "axis"], ["sum"], keepdims=1),
            helper.make_node("Mul", ["sum", "share"], ["speed"]),
        ],
        [
            helper.make_tensor("axis", TensorProto.INT64, [1], [1]),
            helper.make_tensor("share", TensorProto.FLOAT, [1], [0.01]),
        ],
        recipe,
    )


def crashing(depth=40_000):
    """A model that onnxruntime really crashes on (a tree so deep that it runs out of stack)."""
    from onnx import helper

    count = 2 * depth + 1
    leaves = list(range(depth, count))
    told = {
        "n_targets": 1,
        "nodes_nodeids": list(range(count)),
        "nodes_modes": ["BRANCH_LEQ"] * depth + ["LEAF"] * len(leaves),
        "nodes_truenodeids": [*range(1, depth + 1), *[0] * len(leaves)],
        "nodes_falsenodeids": [*range(depth + 1, count), *[0] * len(leaves)],
        "nodes_values": [1.0] * count,
        "nodes_hitrates": [1.0] * count,
        "target_nodeids": leaves,
        "target_weights": [1.0] * len(leaves),
    }
    told |= dict.fromkeys(
        ("nodes_featureids", "nodes_treeids", "nodes_missing_value_tracks_true"), [0] * count
    )
    told |= dict.fromkeys(("target_ids", "target_treeids"), [0] * len(leaves))
    return of_nodes(
        [helper.make_node("TreeEnsembleRegressor", ["features"], ["speed"], domain="ai.onnx.ml", **told)], []
    )


def endless():
    """A model whose first row never ends."""
    from onnx import TensorProto, helper

    of = helper.make_tensor_value_info
    body = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["on"]), helper.make_node("Add", ["value", "one"], ["more"])],
        "body",
        [
            of("turn", TensorProto.INT64, []),
            of("go", TensorProto.BOOL, []),
            of("value", TensorProto.FLOAT, None),
        ],
        [of("on", TensorProto.BOOL, []), of("more", TensorProto.FLOAT, None)],
        initializer=[helper.make_tensor("one", TensorProto.FLOAT, [1], [1.0])],
    )
    return of_nodes(
        [
            helper.make_node("Loop", ["turns", "yes", "begin"], ["end"], body=body),
            helper.make_node("Reshape", ["end", "shape"], ["speed"]),
        ],
        [
            helper.make_tensor("turns", TensorProto.INT64, [], [2**62]),
            helper.make_tensor("yes", TensorProto.BOOL, [], [True]),
            helper.make_tensor("begin", TensorProto.FLOAT, [1], [0.0]),
            helper.make_tensor("shape", TensorProto.INT64, [2], [1, 1]),
        ],
    )


def too_large():
    """A model that wants 64 GB for a row."""
    from onnx import TensorProto, helper

    return of_nodes(
        [
            helper.make_node("ConstantOfShape", ["length"], ["zeros"]),
            helper.make_node("ReduceMean", ["zeros"], ["mean"], keepdims=0),
            helper.make_node("Reshape", ["mean", "shape"], ["speed"]),
        ],
        [
            helper.make_tensor("length", TensorProto.INT64, [1], [2**34]),
            helper.make_tensor("shape", TensorProto.INT64, [2], [1, 1]),
        ],
    )


def no_number():
    """A model that divides nothing by nothing."""
    from onnx import TensorProto, helper

    zero = helper.make_tensor("zero", TensorProto.FLOAT, [1, 1], [0.0])
    return of_nodes([helper.make_node("Div", ["zero", "zero"], ["speed"])], [zero])


def another_signature():
    """A model of another kind: its input has another name."""

    def change(proto):
        proto.graph.input[0].name = "pixels"
        for node in proto.graph.node:
            node.input[:] = ["pixels" if name == "features" else name for name in node.input]

    return changed(change)


def release(content, version, name="car-speed"):
    """What a twin says of a model."""
    return {
        "name": name,
        "version": version,
        "sha256": hashlib.sha256(content).hexdigest(),
        "size": len(content),
        "blob": f"models/{name}/{version}/model.onnx",
    }


class Storage:
    """The lab's storage account: where models are put, and addresses that read them."""

    def __init__(self, connection_string, ca_file):
        self._account = BlobServiceClient.from_connection_string(
            connection_string, connection_verify=str(ca_file)
        )
        if not self._account.get_container_client("models").exists():
            self._account.create_container("models")

    def put(self, content, version, stored=None):
        """Publish a model; what the twin is to say. `stored`: what lies there in truth."""
        told = release(content, version)
        container, _, path = told["blob"].partition("/")
        blob = self._account.get_blob_client(container, path)
        blob.upload_blob(content if stored is None else stored, overwrite=True)
        return told

    def url(self, told, minutes=10):
        container, _, path = told["blob"].partition("/")
        signed = generate_blob_sas(
            account_name=self._account.account_name,
            container_name=container,
            blob_name=path,
            account_key=self._account.credential.account_key,
            permission=BlobSasPermissions(read=True),
            start=datetime.now(UTC) - timedelta(minutes=60),
            expiry=datetime.now(UTC) + timedelta(minutes=minutes),
        )
        return f"{self._account.get_blob_client(container, path).url}?{signed}"

    def close(self):
        self._account.close()


class Cloud:
    """The vendor's service clients: the module's twin and methods, and deployments."""

    def __init__(self, lab):
        self._lab = lab
        self.registry = IoTHubRegistryManager.from_connection_string(lab.service_connection_string)

    def deploy(self, template):
        """Apply a manifest to an edge device; the device's runtime once its modules run."""
        self.registry.create_device_with_sas(DEVICE, "", "", "enabled", iot_edge=True)
        content = ConfigurationContent(modules_content=load(template).content["modulesContent"])
        IoTHubConfigurationManager.from_connection_string(
            self._lab.service_connection_string
        ).apply_configuration_on_edge_device(DEVICE, content)
        edge = self._lab.edge(DEVICE)
        edge.wait_until_running(*[name for name in template["modulesContent"] if not name.startswith("$")])
        return edge

    def desire(self, **desired):
        """Change desired properties; their version."""
        patch = Twin(properties=TwinProperties(desired=desired))
        twin = self.registry.update_module_twin(DEVICE, MODULE, patch, "*")
        return twin.properties.desired["$version"]

    def reported(self, condition):
        """The reported properties, once they fulfil a condition."""
        found = None
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            found = self.registry.get_module_twin(DEVICE, MODULE).properties.reported
            if condition(found):
                return found
            threading.Event().wait(0.05)
        raise AssertionError(found)

    def invoke(self, name, payload=None):
        """Status and payload of a method."""
        method = CloudToDeviceMethod(method_name=name, payload=payload, response_timeout_in_seconds=30)
        answer = self.registry.invoke_device_module_method(DEVICE, MODULE, method)
        return answer.status, answer.payload

    def give(self, told, storage, **desired):
        """Have the module want a model, and give it the address, as a rollout does; what it reports once it is over."""
        self.desire(model=told, **desired)
        self.reported(lambda found: (found.get("pending") or {}).get("version") == told["version"])
        payload = {name: told[name] for name in ("name", "version", "sha256")}
        assert self.invoke("fetchModel", payload | {"url": storage.url(told)})[0] == 202
        return self.over(told["version"])

    def over(self, version):
        """What is reported once a version serves or is refused."""

        def end(found):
            pending = found.get("pending")
            if pending is not None:
                return pending["version"] == version and pending["status"] == "refused"
            return (found.get("model") or {}).get("version") == version

        return self.reported(end)
