"""Models to a fleet of edges: published, fetched, compared on live rows, promoted or rolled back; and the loop.

Stands for arrows 5 and 6 of the series' picture, "push model to edge" and "send updated model", and for what the series
leaves "for a later article": noticing that a model has grown old. Everything goes by connection strings and the
vendor's own SDKs, so that it works at an IoT Hub and a storage account on Azure as it does here; there it has been
tried by nobody yet.

    release    what a twin says of a model, and an edge of itself
    publisher  the file in the blob container, and addresses that read it for some minutes
    cloud      the calls of the hub: twins, tags, configurations, direct methods
    messages   what edges send: predictions, requests for a model
    listener   reading those from the built-in endpoint
    answering  a request answered with `fetchModel`
    targets    which edges get which model: automatic configurations, the canary ring
    compare    champion and challenger on the same live rows
    plan, stages    from the shadow to the fleet, or back
    service    all of it together
    drift, learn, loop    notice, train, register, roll out

Imports nothing by itself; it needs the extras `service`, `storage` and `registry`, and `train` for the loop.
"""
