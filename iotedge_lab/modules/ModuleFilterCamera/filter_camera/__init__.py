"""ModuleFilterCamera's code, a file a noun.

    settings   what the module is told, by its environment and by its twin's desired properties
    telling    an event as a small message, and the direct methods
    ledger     which videos were read and told, so that a restart does not tell them again
    gallery    pictures for a person to see, on the device's own disk
    camera     all of it together: follows the folder, looks, sends
    program    the process

Stands for the fifth part of the blog series, which was only drafted there: the video is split into frames, and only
what matters goes to the hub. How frames are looked at stands in `iotedge_lab.camera.looking`. It needs the vendor's
SDK and `iotedge_lab.camera`, and talks to nothing but its edge hub and the folder.
"""
