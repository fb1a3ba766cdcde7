"""The car: its physics (`vehicle`), the drives made with them and read from anywhere (`drives`).

`device` is the computer on board: what the edge modules have in common, the camera's too.

Imports nothing by itself: an edge module takes `iotedge_lab.car.drives` and loads no numpy and no pandas.
"""
