"""ModuleFilterCar's code, a file a noun.

    settings   what the module is told, by its environment and by its twin's desired properties
    rows       a message of the car becomes a row, and what is known of its place among the others
    order      rows in the order of their drive, whichever of the SDK's threads brought them
    release    a version of a model, as the twin names it
    model      a model that has been loaded, and what is reported of it
    serving    champion and challenger on live rows, a car at a time; models are swapped between two rows
    matters    which predictions are sent, and what that saves
    telling    a prediction as a message, the request for a model, and the direct methods
    outbox     predictions on their way, each sent until it is acknowledged
    fetching   a model's file from blob storage: retries, resume, size and SHA-256
    trial      a model tried in a process of its own, so that one that crashes takes nothing with it
    shelf      models on the module's disk, and which of them serve
    supply     from a desired property to a model that serves: asking, fetching, checking, or refused
    leftovers  answers that could not be sent before the module had to stop
    car        all of it together
    program    the process

Stands for the fourth part of the blog series, where the module loads its model anew for each message. It needs the
vendor's SDKs and `iotedge_lab.car`, of which `device` is what every module of the lab has in common; it talks to
nothing but its edge hub, and to the blob storage whose address it is given.
"""
