"""Where the hub is, what of it is trusted, by which proxy it is reached, and who connects."""

import ssl

import certifi
import pytest
from fake_cloud import KEY

from iotedge_lab.edge.upstream import Cloud, CloudIdentity
from iotedge_lab.edge.upstream.cloud import trust
from iotedge_lab.edge.upstream.proxies import Proxy, proxy_for
from iotedge_lab.errors import ConnectionStringError, EnvironmentProblem, UsageError
from iotedge_lab.wire import sas
from iotedge_lab.wire.topics import parse_username

REST = f"DeviceId=edge;SharedAccessKey={KEY}"

PLACES = [
    ("contoso.azure-devices.net", {}, ("contoso.azure-devices.net", 443, 8883)),
    ("localhost", {}, ("localhost", 443, 8883)),
    ("localhost:8443", {}, ("localhost", 8443, 8883)),
    ("localhost", {"https_port": 8443}, ("localhost", 8443, 8883)),
    ("localhost:9443", {"https_port": 8443}, ("localhost", 8443, 8883)),
    ("127.0.0.2:8443", {"mqtt_port": 18883}, ("127.0.0.2", 8443, 18883)),
    ("[::1]:8443", {}, ("[::1]", 8443, 8883)),
]


@pytest.mark.parametrize(("host", "options", "found"), PLACES)
def test_where_the_hub_is(host, options, found):
    """A port in HostName is that of REST; one that is given explicitly goes before it; MQTT has 8883."""
    cloud = Cloud.from_connection_string(f"HostName={host};{REST}", environment={}, **options)
    assert (cloud.hostname, cloud.https_port, cloud.mqtt_port) == found
    assert cloud.host == found[0].strip("[]")
    assert (cloud.https_proxy, cloud.mqtt_proxy) == (None, None)


def test_the_address_of_a_call():
    """The default port is left out of it."""
    assert Cloud("a.net", trust(None, {})).url("/devices") == "https://a.net/devices"
    assert Cloud("[::1]", trust(None, {}), 8443).url("/x") == "https://[::1]:8443/x"


REFUSED = [
    (f"HostName=h;SharedAccessKeyName=service;SharedAccessKey={KEY}", "of a back end"),
    (f"HostName=h;DeviceId=d;ModuleId=m;SharedAccessKey={KEY}", "of a module"),
    (f"Endpoint=sb://h/;SharedAccessKeyName=s;SharedAccessKey={KEY}", "of an Event Hubs"),
    (
        f"HostName=h;DeviceId=d;SharedAccessKey={KEY};GatewayHostName=parent",
        "nested edge devices are not served",
    ),
    ("HostName=h;DeviceId=d;x509=true", "by certificate"),
    ("HostName=h;DeviceId=d", "needs SharedAccessKey"),
    ("", "is empty"),
]


@pytest.mark.parametrize(("text", "words"), REFUSED)
def test_connection_strings_that_are_refused(text, words):
    """With what it is instead, or what cannot be; both by who asks where the hub is and by who asks who it is."""
    for ask in (Cloud.from_connection_string, CloudIdentity.from_connection_string):
        with pytest.raises(ConnectionStringError, match=words) as caught:
            ask(text)
        assert KEY not in str(caught.value)


@pytest.mark.parametrize(("module", "name", "resource"), [
    ("", "edge", "h/devices/edge"),
    ("m", "edge/m", "h/devices/edge/modules/m"),
])  # fmt: skip
def test_who_connects(module, name, resource):
    """Its name, user name and token are those of the official SDKs; the key is in none of them."""
    identity = CloudIdentity("edge", module, KEY)
    assert identity.name == name
    user = parse_username(identity.username("h"))
    assert (user.host, user.device, user.module or "", user.api_version) == (
        "h",
        "edge",
        module,
        "2021-04-12",
    )
    token = sas.parse(identity.token("h", 2_000_000_000))
    assert (token.resource_decoded, token.expiry, token.key_name) == (resource, 2_000_000_000, None)
    sas.verify(token, KEY, 1_900_000_000)
    assert KEY not in repr(identity)


def test_the_edge_device_of_a_connection_string():
    """Its id and key; no module."""
    found = CloudIdentity.from_connection_string(f"HostName=h:1;{REST}")
    assert found == CloudIdentity("edge", "", KEY)


# -- trust ---------------------------------------------------------------------------------------------


def subjects(context):
    """The names of the authorities in a context."""
    return {str(each["subject"]) for each in context.get_ca_certs()}


def test_an_explicit_file_goes_first(authority, tmp_path):
    """It alone is trusted, whatever SSL_CERT_FILE says."""
    context = trust(authority.ca_file, {"SSL_CERT_FILE": str(tmp_path / "none")})
    assert len(subjects(context)) == 1
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname


def test_the_variable_goes_next(authority):
    """As for the official SDKs."""
    assert subjects(trust(None, {"SSL_CERT_FILE": str(authority.ca_file)})) == subjects(
        trust(authority.ca_file)
    )


def test_else_certifi_and_the_system():
    """A hub on Azure needs no setting."""
    known = ssl.create_default_context(cafile=certifi.where())
    assert subjects(known) <= subjects(trust(None, {}))
    assert len(subjects(known)) > 50


def test_files_that_cannot_be_used(tmp_path):
    """Each says which file, and what to do: the caller's argument, or the environment."""
    garbage = tmp_path / "garbage.pem"
    garbage.write_text("no certificate")
    with pytest.raises(UsageError, match=r"garbage.pem holds no certificate.*Name the file"):
        trust(garbage)
    with pytest.raises(UsageError, match=r"absent.pem cannot be read \(No such file"):
        trust(tmp_path / "absent.pem")
    with pytest.raises(EnvironmentProblem, match=r"garbage.pem holds no certificate.*SSL_CERT_FILE"):
        trust(None, {"SSL_CERT_FILE": str(garbage)})
    with pytest.raises(EnvironmentProblem, match=r"cannot be read.*SSL_CERT_FILE"):
        trust(None, {"SSL_CERT_FILE": str(tmp_path)})


# -- proxies -------------------------------------------------------------------------------------------

SOME = "http://proxy.corp:3128"
PROXIES = [
    ({}, "https", None),
    ({"HTTPS_PROXY": SOME}, "https", ("proxy.corp", 3128)),
    ({"HTTPS_PROXY": SOME}, "mqtt", None),
    ({"mqtt_proxy": SOME}, "mqtt", ("proxy.corp", 3128)),
    ({"MQTT_PROXY": "proxy.corp"}, "mqtt", ("proxy.corp", 80)),
    ({"HTTP_PROXY": SOME, "ALL_PROXY": SOME}, "https", None),
    ({"HTTPS_PROXY": SOME, "https_proxy": "http://small:1"}, "https", ("small", 1)),
    ({"HTTPS_PROXY": SOME, "https_proxy": ""}, "https", None),
    ({"HTTPS_PROXY": SOME, "NO_PROXY": "a.net, contoso.azure-devices.net"}, "https", None),
    ({"HTTPS_PROXY": SOME, "NO_PROXY": ".azure-devices.net:443"}, "https", None),
    ({"HTTPS_PROXY": SOME, "NO_PROXY": "azure-devices.net"}, "https", None),
    ({"HTTPS_PROXY": SOME, "no_proxy": "*"}, "https", None),
    ({"HTTPS_PROXY": SOME, "NO_PROXY": "devices.net,so.azure-devices.net,"}, "https", ("proxy.corp", 3128)),
]


@pytest.mark.parametrize(("environment", "scheme", "found"), PROXIES)
def test_proxies(environment, scheme, found):
    """HTTPS_PROXY is for REST and mqtt_proxy for MQTT; small letters go first; NO_PROXY has exceptions."""
    proxy = proxy_for("contoso.azure-devices.net", scheme, environment)
    assert (proxy and (proxy.host, proxy.port)) == found


@pytest.mark.parametrize("host", ["localhost", "127.0.0.7", "[::1]"])
def test_a_hub_on_loopback_is_reached_directly(host):
    """Whatever the variables say: a proxy elsewhere does not know this machine."""
    cloud = Cloud.from_connection_string(
        f"HostName={host};{REST}", environment={"HTTPS_PROXY": SOME, "mqtt_proxy": SOME}
    )
    assert (cloud.https_proxy, cloud.mqtt_proxy) == (None, None)


def test_a_password_of_a_proxy_is_not_shown():
    """Neither in a repr nor in an error."""
    proxy = Proxy.parse("http://me:s%40cret@proxy:1", "HTTPS_PROXY")
    assert proxy.authorization == "Basic bWU6c0BjcmV0"
    cloud = Cloud("h", trust(None, {}), https_proxy=proxy)
    assert "cret" not in repr(cloud)
    for text in ("socks5://me:secret@proxy:1", "http://me:secret@proxy:x", "http://"):
        with pytest.raises(EnvironmentProblem, match=r"HTTPS_PROXY does not read http://") as caught:
            proxy_for("h", "https", {"HTTPS_PROXY": text})
        assert "secret" not in str(caught.value)
