"""The identities that an edge device may act for: kept, changed as the hub says, and told of."""

import pytest
from edge_yard import EDGE, HUB, registered

from iotedge_lab.clock import FakeClock
from iotedge_lab.edge.hub.identities import Identities, ModuleKeys
from iotedge_lab.edge.store import EdgeStore, KeptIdentities
from iotedge_lab.edge.upstream import Scope
from iotedge_lab.errors import DeviceNotFound, ModuleNotFound, StoreUnavailable


@pytest.fixture
def store(tmp_path):
    made = EdgeStore(tmp_path / "edge.db")
    yield made
    made.close()


@pytest.fixture
def known(store):
    return Identities(KeptIdentities(store), EDGE, frozenset({HUB}), FakeClock())


@pytest.fixture
def told(known):
    found = []
    known.on_change.append(lambda old, new: found.append((old.device, old.module, new)))
    return found


def names(identities):
    return sorted((each.device, each.module) for each in identities)


def test_the_whole_scope(known, told, store):
    """It takes the place of what was known; who is new is not told of, who changed or went is. It is kept."""
    first, leaf = registered(EDGE, "a"), registered("leaf")
    known.replace(Scope((registered(EDGE), leaf), (first, registered(EDGE, "b"))))
    assert told == []
    second = registered(EDGE, "a", number=2)
    known.replace(Scope((leaf,), (second, registered(EDGE, "c"))))
    assert told == [(EDGE, "a", second), (EDGE, "b", None)]
    assert names(known) == [(EDGE, ""), (EDGE, "a"), (EDGE, "c"), ("leaf", "")]
    again = Identities(KeptIdentities(store), EDGE, frozenset({HUB}), FakeClock())
    assert sorted(map(repr, again)) == sorted(map(repr, known))
    told.clear()
    known.replace(Scope((leaf,), (second, registered(EDGE, "c"))))
    assert told == []


def test_a_full_disk_changes_nothing(known, told, monkeypatch):
    """What cannot be kept is not taken."""
    known.replace(Scope((registered(EDGE),), (registered(EDGE, "a"),)))

    def full(*_):
        raise StoreUnavailable("full.")

    for name in ("replace", "save", "delete"):
        monkeypatch.setattr(known._kept, name, full)
    for change in (
        lambda: known.replace(Scope((), ())),
        lambda: known.save([registered(EDGE, "a", number=2)]),
        lambda: known.delete(EDGE, "a"),
    ):
        with pytest.raises(StoreUnavailable):
            change()
    assert list(known) == [registered(EDGE), registered(EDGE, "a")]
    assert told == []


def test_one_that_is_not_there(known):
    """The errors are an IoT Hub's."""
    with pytest.raises(DeviceNotFound, match="not in the scope"):
        known.get("x")
    with pytest.raises(ModuleNotFound, match="edge/x"):
        known.get(EDGE, "x")
    known.delete("x", "")


def test_what_the_workload_api_signs_with(known):
    """The device's own modules have keys there; the runtime's, leaf devices' and those without keys have not."""
    known.save(
        [
            registered(EDGE),
            registered(EDGE, "a"),
            registered(EDGE, "$edgeAgent"),
            registered(EDGE, "$edgeHub"),
            registered("leaf", "m"),
            registered(EDGE, "none", auth_type="none"),
        ]
    )
    keys = ModuleKeys(known)
    assert list(keys) == ["a"]
    assert len(keys) == 1
    assert keys["a"].generation_id == "g1"
    for name in ("$edgeAgent", "m", "none", ""):
        assert name not in keys
    known.save([registered(EDGE, "a", generation="g2")])
    assert keys["a"].generation_id == "g2"
