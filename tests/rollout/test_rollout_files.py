"""The file's way to an edge: published, signed for, answered for; and files that are not what they should be."""

import urllib.error
import urllib.request
from dataclasses import replace
from urllib.parse import parse_qs, urlsplit

import pytest
from onnx_models import made

from iotedge_lab.clock import FakeClock
from iotedge_lab.errors import ConnectionStringError, UsageError
from iotedge_lab.rollout.messages import Request, Sender
from iotedge_lab.rollout.plan import Plan
from iotedge_lab.rollout.problems import RolloutProblem
from iotedge_lab.rollout.publisher import Publisher
from iotedge_lab.rollout.release import MODULE, Release

GOOD, OTHER = made(3.0), made(1.0)
AT_ONCE = Plan(canary=1.0, canary_rows=0)


@pytest.fixture
def release(service, registry, name):
    """A version that was published."""
    return service.publish(registry.register(name, GOOD))


def get(url):
    """Status and body."""
    try:
        with urllib.request.urlopen(url, timeout=20) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def asked(device, release, module=MODULE):
    return Request(Sender(device, module), release.name, release.version, release.sha256, release.blob)


# -- published and signed for --------------------------------------------------------------------------


def test_an_address_reads_one_file(service, release):
    """The signed address reads it; without the signature, for another file or for writing it is worth nothing."""
    url = service.publisher.read_url(release)
    assert get(url) == (200, GOOD)
    assert parse_qs(urlsplit(url).query)["sp"] == ["r"]
    assert get(url.partition("?")[0])[0] in (401, 403, 404, 409)
    assert get(url.replace("model.onnx", "other.onnx"))[0] == 403
    put = urllib.request.Request(url, b"x", {"x-ms-blob-type": "BlockBlob"}, method="PUT")
    with pytest.raises(urllib.error.HTTPError, match="403"):
        urllib.request.urlopen(put, timeout=20)
    assert service.publisher.content(release) == GOOD


def test_an_address_ends(lab, release):
    """It holds for some minutes: one that was signed a while ago reads nothing."""
    import time

    with Publisher(lab.storage_connection_string, clock=FakeClock(time.time() - 3600.0)) as earlier:
        assert get(earlier.read_url(release))[0] == 403


def test_publishing_again(service, registry, name):
    """What lies there is what the registry has, whatever lay there before."""
    version = registry.register(name, GOOD)
    release = service.publish(version)
    service.publisher._container.upload_blob(release.blob.partition("/")[2], b"tampered", overwrite=True)
    assert service.publish(version) == release
    assert service.publisher.content(release) == GOOD
    with pytest.raises(UsageError, match="not those of"):
        service.publisher.publish(version, OTHER)


def test_a_container_of_ones_own(lab, registry, name):
    """It is made when it is first needed; a release elsewhere is none of its."""
    version = registry.register(name, GOOD)
    with Publisher(lab.storage_connection_string, container="my-models") as own:
        release = own.publish(version, GOOD)
        assert release.blob == f"my-models/{name}/{version.version}/model.onnx"
        assert get(own.read_url(release)) == (200, GOOD)
        with pytest.raises(UsageError, match="does not lie in the container 'my-models'"):
            own.read_url(replace(release, blob="models/x"))


def test_accounts_that_are_none():
    """A string that is no account's, and one that can sign nothing; neither shows a key."""
    with pytest.raises(ConnectionStringError, match="cannot be read"):
        Publisher("nothing")
    told = "BlobEndpoint=https://127.0.0.1:1/a;SharedAccessSignature=sv=1&sig=secret"
    with pytest.raises(ConnectionStringError, match="no AccountKey") as caught:
        Publisher(told)
    assert "secret" not in str(caught.value)


def test_an_account_that_is_away(registry, name):
    """It is told of, with what to look at."""
    version = registry.register(name, GOOD)
    key = "a2V5"
    string = (
        f"DefaultEndpointsProtocol=http;AccountName=a;AccountKey={key};BlobEndpoint=http://127.0.0.1:9/a;"
    )
    with Publisher(string) as away:
        away._container._config.retry_policy.total_retries = 0
        with pytest.raises(RolloutProblem, match="Is it up, and does its key still hold") as caught:
            away.publish(version, GOOD)
    assert key not in str(caught.value)


# -- answered for --------------------------------------------------------------------------------------


def test_only_what_the_twin_names(service, release, fleet, until):
    """A request is no right: another version, another hash, another blob, another module get nothing."""
    (edge,) = fleet(1)
    answer = service._answering.answer
    assert answer(asked(edge.device, release)).result == "not wanted"
    wanted = replace(release, version="9")
    service.cloud.desire(edge.device, {"model": wanted.to_dict()})
    until(lambda: edge.requests)  # it has heard of it
    assert answer(asked(edge.device, release)).result == "not wanted"
    for wrong in (
        replace(wanted, sha256="0" * 64),
        replace(wanted, blob="uploads/secret"),
        replace(wanted, name="other"),
    ):
        assert answer(asked(edge.device, wrong)).result == "not wanted"
    assert answer(asked(edge.device, wanted, "ModuleSimulatorCar")).result == "not wanted"
    given = answer(asked(edge.device, wanted))
    assert given.result == "given"
    assert "sig" not in repr(given)
    assert "http" not in repr(given)


def test_an_edge_that_left_after_asking(service, release, fleet):
    """The method finds nobody; the edge asks again when it is back."""
    (away,) = fleet(1, connect=False)
    service.cloud.desire(away, {"model": release.to_dict()})
    assert service._answering.answer(asked(away, release)).result == "not there"


def test_a_challenger_is_fetched_alike(service, release, fleet, until):
    """A model that is to run beside the one that serves."""
    (edge,) = fleet(1)
    service.cloud.desire(edge.device, {"challenger": release.to_dict()})
    until(lambda: service.cloud.edge(edge.device).shadows(release))
    assert edge.serving == "0"
    service.cloud.desire(edge.device, {"challenger": None})
    until(lambda: service.cloud.edge(edge.device).challenger is None)


def test_an_edge_that_is_not_there_at_all(service, release):
    """A request from a device that was deleted meanwhile fails, and is told of, not raised in a thread."""
    service._answering.ask(asked("nobody", release))
    service._answering.close()
    assert [each.result for each in service.answers] == ["failed"]


# -- files that are not what they should be ------------------------------------------------------------

BAD = {
    "truncated": (GOOD[:-20], "bytes, not"),
    "tampered": (bytes([GOOD[0] ^ 1]) + GOOD[1:], "SHA-256 is another"),
}


@pytest.fixture(params=sorted(BAD))
def damage(request):
    """What becomes of the file, and what the edge says of it."""
    return BAD[request.param]


def test_a_blob_that_is_another(service, registry, fleet, monkeypatch, damage):
    """Damaged on the way, the file is refused: the old one serves on, the rollout sees it and goes back."""
    edges, name = fleet(2), service.name
    service.serve(registry.register(name, OTHER))
    content, reason = damage
    publish = service.publisher.publish

    def damaged(version, told):
        release = publish(version, told)
        if version.version == "2":
            service.publisher._container.upload_blob(release.blob.partition("/")[2], content, overwrite=True)
        return release

    monkeypatch.setattr(service.publisher, "publish", damaged)
    outcome = service.roll_out(registry.register(name, GOOD), AT_ONCE)
    assert not outcome.promoted
    assert "refuses it" in outcome.reason
    assert reason in outcome.reason
    assert [edge.serving for edge in edges] == ["1", "1"]
    assert registry.champion(name).version == "1"
    assert registry.get(name, 2).reason == outcome.reason


@pytest.mark.parametrize(
    "content", [made(metadata=False), made(width=7)], ids=["without metadata", "too narrow"]
)
def test_a_model_of_another_signature(service, registry, name, fleet, content):
    """The registry takes none; one that comes by anyway is refused by the edge, and said so in its twin."""
    import hashlib

    from iotedge_lab.errors import DataError

    (edge,) = fleet(1)
    service.serve(registry.register(name, OTHER))
    with pytest.raises(DataError):
        registry.register(name, content)
    sha256 = hashlib.sha256(content).hexdigest()
    version = replace(registry.get(name, 1), version="2", sha256=sha256, size=len(content))
    release = service.publisher.publish(version, content)
    service.cloud.desire(edge.device, {"model": release.to_dict()})
    found = _refused(service, edge.device, release)
    assert (found.model.version, edge.serving) == ("1", "1")
    assert found.status == "refused"


def _refused(service, device, release):
    import time

    end = time.monotonic() + 60
    while not (found := service.cloud.edge(device)).refuses(release):
        assert time.monotonic() < end
        time.sleep(0.02)
    return found


# -- what a twin says ----------------------------------------------------------------------------------


def test_desired_properties_that_are_none():
    """What somebody wrote by hand and wrong is no release."""
    good = Release("car-speed", "3", "a" * 64, 10, "models/car-speed/3/model.onnx")
    assert Release.read(good.to_dict()) == good
    assert set(good.to_dict()) == {"name", "version", "sha256", "size", "blob"}
    for wrong in (
        None, "x", [], {}, good.to_dict() | {"sha256": "A" * 64}, good.to_dict() | {"size": "10"},
        good.to_dict() | {"size": True}, good.to_dict() | {"version": 3}, good.to_dict() | {"blob": ""},
    ):  # fmt: skip
        assert Release.read(wrong) is None
