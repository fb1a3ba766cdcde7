"""A solution on disk: a deployment manifest, its modules' folders, its `.env`; read, and scaffolded anew.

Stands for the folder that VS Code's Azure IoT Edge extension makes by "New IoT Edge Solution".
"""

from iotedge_lab.solution.files import check_images, find_module_folders, read_manifest
from iotedge_lab.solution.scaffold import DEFAULT_MODULE, add_module, new_solution

__all__ = [
    "DEFAULT_MODULE",
    "add_module",
    "check_images",
    "find_module_folders",
    "new_solution",
    "read_manifest",
]
