"""Topic names and topic filters, section 4.7 of MQTT 3.1.1, and the strings of section 1.5.3.

A topic names one thing and holds no wildcard; a filter may hold `+` (one level) and a final `#` (all levels
from here, the parent included). Both are cut at `/`, are case-sensitive, and may have empty levels.
"""

from __future__ import annotations

MAX_STRING = 65_535  # bytes; a length of two bytes stands before each string


def topic_fault(topic: bytes) -> tuple[str, str] | None:
    """What is wrong with the topic name of a PUBLISH, as (reason, spec), or None when it is right.

    The order of the checks is that of their cost: this runs for each message whose topic differs from the
    one before.
    """
    if not topic:
        return "an empty topic name", "4.7.3, MQTT-4.7.3-1"
    if b"#" in topic or b"+" in topic:
        return "a wildcard in the topic name of a PUBLISH", "3.3.2.1, MQTT-3.3.2-2"
    return text_fault(topic)


def text_fault(text: bytes) -> tuple[str, str] | None:
    """What is wrong with the bytes of a string, as (reason, spec), or None when it is right."""
    if b"\0" in text:
        return "the character U+0000 in a string", "1.5.3, MQTT-1.5.3-2"
    if not text.isascii():
        try:
            text.decode()
        except UnicodeDecodeError:
            return "a string that is not UTF-8", "1.5.3, MQTT-1.5.3-1"
    return None


def filter_fault(topic_filter: str) -> tuple[str, str] | None:
    """What is wrong with a topic filter, as (reason, spec), or None when it is right."""
    if not topic_filter:
        return "an empty topic filter", "4.7.3, MQTT-4.7.3-1"
    if "\0" in topic_filter:
        return "the character U+0000 in a topic filter", "4.7.3, MQTT-4.7.3-2"
    if "#" not in topic_filter and "+" not in topic_filter:
        return None
    levels = topic_filter.split("/")
    last = len(levels) - 1
    for index, level in enumerate(levels):
        if "#" in level and (level != "#" or index != last):
            return "a '#' that is not the whole of the last level", "4.7.1.2, MQTT-4.7.1-2"
        if "+" in level and level != "+":
            return "a '+' that is not the whole of its level", "4.7.1.3, MQTT-4.7.1-3"
    return None


def valid_filter(topic_filter: str) -> bool:
    """Whether a SUBSCRIBE may carry this filter, section 4.7."""
    return filter_fault(topic_filter) is None


def matches(topic_filter: str, topic: str) -> bool:
    """Whether a message on `topic` goes to a subscription of `topic_filter`, section 4.7.

    Both are taken as valid. A filter that begins with a wildcard never matches a topic that begins with `$`
    [MQTT-4.7.2-1].
    """
    if topic_filter == topic:
        return True
    if "#" not in topic_filter and "+" not in topic_filter:
        return False
    if topic[:1] == "$" and topic_filter[:1] in "#+":
        return False
    wanted = topic_filter.split("/")
    levels = topic.split("/")
    for index, level in enumerate(wanted):
        if level == "#":
            return True
        if index == len(levels) or (level not in ("+", levels[index])):
            return False
    return len(wanted) == len(levels)
