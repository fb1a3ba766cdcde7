"""The car: its physics (`vehicle`), the drives made with them and read from anywhere (`drives`).

Imports nothing by itself: an edge module takes `iotedge_lab.car.drives` and loads no numpy and no pandas.
"""
