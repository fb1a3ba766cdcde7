"""ModuleSimulatorCar's code, a file a noun.

    settings   what the module is told, by its environment and by its twin's desired properties
    reading    one row of the car, and how it becomes a message with properties that routes filter by
    pace       when the next row is due
    replay     rows of a recording (a car.csv, or a log of a CAN bus), from the first again after the last
    livebus    rows of a car that drives by itself, heard on a CAN bus
    methods    the direct methods: setSpeed, pause, resume, status
    report     the reported properties, and what of them is new
    car        all of it together: sends each row until it is acknowledged, whatever becomes of the edge hub
    program    the process: log, signals, exit code

Stands for the second part of the blog series, where a C# module replays a file. It needs the vendor's SDK and
`iotedge_lab.car`, of which `device` is what every module of the lab has in common, and talks to nothing but its edge
hub and the car.
"""
