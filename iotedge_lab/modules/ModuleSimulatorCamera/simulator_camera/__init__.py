"""ModuleSimulatorCamera's code, a file a noun.

    settings   what the module is told, by its environment and by its twin's desired properties
    film       frames: the road that the car drives, rendered stretch by stretch, or a folder of one's own
    telling    a video as a small message, and the direct methods
    camera     all of it together: a video every so many seconds, into the shared folder
    program    the process

Stands for the third part of the blog series, where ffmpeg makes a video of still pictures every 60 seconds. Frames
never travel by MQTT: the message about a video has its name and its size, no picture. It needs the vendor's SDK,
`iotedge_lab.camera` and `iotedge_lab.car`, and talks to nothing but its edge hub and the folder.
"""
