"""The car's CAN bus: its values as frames (`encoder`, `player`), the wires (`buses`), and back again (`reader`).

`car.dbc` says which signal lies where; cantools reads it, python-can carries the frames. These two libraries are
imported in this package alone. Imports nothing by itself.

    from iotedge_lab.car.can.buses import open_bus        # "unix:/run/me/car-1", "virtual:car", "socketcan:vcan0"
    from iotedge_lab.car.can.player import CarOnBus       # a drive, sent in real time
    from iotedge_lab.car.can.reader import Reader         # "CAN Bus Connect": frames to one row a second
    from iotedge_lab.car.can.log import read_log, write_log   # BLF files

Leaves out: CAN FD and CAN XL, transport protocols (ISO 15765), diagnostics, error frames and arbitration on the wire.
"""
