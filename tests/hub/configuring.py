"""Configurations for tests: their bodies, and a hub in this process that is given some."""

from iotedge_lab.hub.configurations.configuration import Draft

AGENT, HUB = "$edgeAgent", "$edgeHub"
BASE = {AGENT: {"properties.desired": {"modules": {}}}, HUB: {"properties.desired": {"routes": {}}}}


def device_content(**settings):
    """Of devices: `a__b=1` is the path a.b."""
    return {"deviceContent": _paths(settings)}


def module_content(**settings):
    """Of modules."""
    return {"moduleContent": _paths(settings)}


def base(**modules):
    """A whole deployment: the runtime's two, and other modules as they are told."""
    return {"modulesContent": BASE | modules}


def layer(modules=None, **agent):
    """A layered deployment: paths below $edgeAgent's desired properties, and other modules as they are told."""
    return {"modulesContent": {AGENT: _paths(agent or {"modules__layer": {}})} | (modules or {})}


def _paths(settings):
    return {f"properties.desired.{name.replace('__', '.')}": value for name, value in settings.items()}


def put(house, name, content, target="*", priority=0, *, update=False, wait=True, **more):
    """Create a configuration in a `House`, or update it, and let it be rolled out."""
    draft = Draft.read(name, {"content": content, "targetCondition": target, "priority": priority} | more)
    configurations = house.hub.configurations
    etag = f'"{configurations.get(name).etag}"' if update else None
    made, _ = configurations.put(draft, draft.check(), etag)
    if wait:
        house.turns.run()
    return made


def delete(house, name):
    """Delete a configuration in a `House`, and let what it did be taken back."""
    house.hub.configurations.delete(name, None)
    house.turns.run()


def tag(house, device, module="", **tags):
    """Change tags, and let what that brings about happen."""
    house.hub.twins.patch(device, module, {"tags": tags}, None)
    house.turns.run()


def desired(house, device, module=""):
    """The desired properties of a twin."""
    return house.hub.twins.get(device, module)[1].desired.values


def statuses(house, device, module=""):
    """What a twin shows of its configurations: the status by id."""
    shown = house.hub.twins.to_json(*house.hub.twins.get(device, module)).get("configurations", {})
    return {name: one["status"] for name, one in shown.items()}
