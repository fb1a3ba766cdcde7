"""Topic filters: section 4.7's own examples, and its edges."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from iotedge_lab.wire.mqtt.filters import matches, topic_fault, valid_filter


@pytest.mark.parametrize(
    ("topic_filter", "topic", "expected"),
    [
        ("sport/tennis/player1/#", "sport/tennis/player1", True),
        ("sport/tennis/player1/#", "sport/tennis/player1/ranking", True),
        ("sport/tennis/player1/#", "sport/tennis/player1/score/wimbledon", True),
        ("sport/#", "sport", True),
        ("sport/#", "sports", False),
        ("#", "a/b/c", True),
        ("#", "/", True),
        ("sport/tennis/+", "sport/tennis/player1", True),
        ("sport/tennis/+", "sport/tennis/player1/ranking", False),
        ("sport/+", "sport", False),
        ("sport/+", "sport/", True),
        ("+/+", "/finance", True),
        ("/+", "/finance", True),
        ("+", "/finance", False),
        ("+/tennis/#", "sport/tennis/x/y", True),
        ("+/a/+", "x/a/y", True),
        ("+/a/+", "x/b/y", False),
        ("#", "$SYS/x", False),
        ("+/x", "$SYS/x", False),
        ("$SYS/#", "$SYS/x", True),
        ("$SYS/+/b", "$SYS/a/b", True),
        ("a/$x/#", "a/$x/y", True),
        ("+/$x", "a/$x", True),
        ("a/b", "a/b", True),
        ("a/b", "A/b", False),
        ("a/b", "a/b/", False),
        ("a/b/", "a/b", False),
        ("a//b", "a/b", False),
        ("a/+/b", "a//b", True),
        ("$iothub/twin/res/#", "$iothub/twin/res/200/?$rid=1", True),
        ("$iothub/methods/POST/#", "$iothub/twin/res/200/?$rid=1", False),
    ],
)
def test_matches(topic_filter, topic, expected):
    """A subscription gets what section 4.7 says, and nothing else."""
    assert valid_filter(topic_filter)
    assert matches(topic_filter, topic) is expected


@pytest.mark.parametrize(
    "topic_filter", ["#", "+", "a/#", "+/#", "/", "/+", "a//#", "+/tennis/#", "ä/+/😀", " "]
)
def test_valid(topic_filter):
    """Wildcards that fill their level are right."""
    assert valid_filter(topic_filter)


@pytest.mark.parametrize(
    "topic_filter", ["", "a#", "a/#/b", "#/a", "##", "a+", "+a", "a/b+/c", "a\0", "+#", "#/"]
)
def test_invalid(topic_filter):
    """Wildcards that share their level, or '#' before the end, are wrong."""
    assert not valid_filter(topic_filter)


levels = st.lists(st.sampled_from(("a", "b", "", "$x")), min_size=1, max_size=4)


@settings(max_examples=60, deadline=None)
@given(levels, st.lists(st.booleans(), min_size=4, max_size=4), st.integers(0, 4))
def test_a_topic_matches_what_was_made_from_it(parts, plus, cut):
    """Levels replaced by '+' and an end replaced by '#' match the topic they came from."""
    topic = "/".join(parts)
    wanted = [
        "+" if flag and index else part for index, (part, flag) in enumerate(zip(parts, plus, strict=False))
    ]
    if 0 < cut <= len(parts):
        wanted = [*wanted[:cut], "#"]
    topic_filter = "/".join(wanted)
    if topic and topic_filter:
        assert valid_filter(topic_filter)
        assert matches(topic_filter, topic)
        assert topic_fault(topic.encode()) is None
