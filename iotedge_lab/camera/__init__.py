"""The camera: the road it sees (`scene`), its videos (`video`), and the detector that looks at them (`detector`).

Imports nothing by itself. Needs the extra `camera`: numpy, opencv-python-headless, and onnxruntime for the
detector alone; `libraries` says so in words where one is missing.
"""
