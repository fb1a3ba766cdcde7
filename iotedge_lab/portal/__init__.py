"""The portal: a page in the browser onto the lab, as Azure's portal is one onto a subscription.

    source    what the page shows and does, by the hub's REST API and the edge runtime's control API
    sending   cloud-to-device messages, by the vendor's SDK
    listening the messages that arrive, from the built-in endpoint to every open page
    access    who may ask: the token, and nothing that another site's page could send
    api       the calls of the page, as JSON
    server    the pages and the calls on a loopback port
    jupyter   the same behind JupyterLab, with a tile in its launcher
    static/   the page itself: no build step, nothing from outside

It is a process of its own (`iotedge-lab portal`, or JupyterLab starts it) and holds the hub's service key; the page
never sees it. It speaks to the hub as any service would, so it shows a hub on Azure too, without the edge runtime.
Leaves out: creating hubs, access policies, metrics over time.
"""
