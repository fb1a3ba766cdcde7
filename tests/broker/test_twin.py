"""Twins as values: how patches merge, what metadata says, and every limit at its edge."""

import pytest

from iotedge_lab.broker.twin import (
    DEPTH_LIMIT,
    KEY_LIMIT,
    SECTION_LIMIT,
    TAGS_LIMIT,
    TEXT_LIMIT,
    Section,
    changed_part,
    difference,
    new_section,
    patch_section,
    patch_tags,
    replace_section,
    size_of,
)
from iotedge_lab.errors import ArgumentInvalid

NOW = "2026-11-22T10:00:00.000000Z"
LATER = "2026-11-22T11:00:00.000000Z"

# before, patch, after
MERGES = [
    ({}, {}, {}),
    ({}, {"a": 1}, {"a": 1}),
    ({"a": 1}, {"b": 2}, {"a": 1, "b": 2}),
    ({"a": 1}, {"a": 2}, {"a": 2}),
    ({"a": 1}, {"a": None}, {}),
    ({}, {"a": None}, {}),
    ({"a": {"b": 1, "c": 2}}, {"a": {"c": 3}}, {"a": {"b": 1, "c": 3}}),
    ({"a": {"b": 1}}, {"a": {"b": None}}, {"a": {}}),
    ({"a": {"b": 1}}, {"a": None}, {}),
    ({"a": {"b": 1}}, {"a": 5}, {"a": 5}),
    ({"a": 5}, {"a": {"b": 1}}, {"a": {"b": 1}}),
    ({"a": 5}, {"a": {}}, {"a": {}}),
    ({"a": {"b": 1}}, {"a": {}}, {"a": {"b": 1}}),
    ({"a": [1, 2]}, {"a": [3]}, {"a": [3]}),
    ({"a": [1]}, {"a": {"0": 2}}, {"a": {"0": 2}}),
    ({}, {"a": {"b": {"c": None}}}, {"a": {"b": {}}}),
    ({}, {"a": [{"b": 1}]}, {"a": [{"b": 1}]}),
    ({"a": 1}, {"$version": 9, "$metadata": {"x": 1}}, {"a": 1}),
    ({"ü": "ä"}, {"Ü": True}, {"ü": "ä", "Ü": True}),
    ({"a": 1}, {"a": 1}, {"a": 1}),
    ({"a": True}, {"a": 1.5}, {"a": 1.5}),
    ({"a": ""}, {"a": 0}, {"a": 0}),
]


@pytest.mark.parametrize(("before", "patch", "after"), MERGES, ids=str)
def test_a_patch(before, patch, after):
    """Objects merge, null deletes, all else replaces; the version counts one up, and the section before stays."""
    section = Section(before, {"$lastUpdated": NOW}, 4)
    kept = repr(section)
    changed = patch_section(section, patch, LATER)
    assert (changed.values, changed.version) == (after, 5)
    assert repr(section) == kept


@pytest.mark.parametrize(("before", "patch", "after"), MERGES, ids=str)
def test_tags_follow_the_same_rules(before, patch, after):
    """Tags merge as sections do (and have no `$version` of their own)."""
    if "$version" in patch:
        with pytest.raises(ArgumentInvalid):
            patch_tags(before, patch)
    else:
        assert patch_tags(before, patch) == after


@pytest.mark.parametrize(("before", "patch", "after"), MERGES, ids=str)
def test_a_difference_leads_there(before, patch, after):
    """What a device is told of a replaced twin turns what it has into what there is."""
    there = replace_section(Section(before), after, LATER).values
    told = difference(before, there)
    assert patch_section(Section(before), told, LATER).values == there
    assert difference(there, there) == {}


def test_a_replaced_section():
    """What the new one leaves out is gone, nulls are left out, the metadata is all new."""
    section = patch_section(new_section(NOW), {"a": 1, "b": {"c": 2}}, NOW)
    replaced = replace_section(section, {"b": {"d": 3}, "e": None}, LATER)
    assert (replaced.values, replaced.version) == ({"b": {"d": 3}}, 3)
    stamp = {"$lastUpdated": LATER, "$lastUpdatedVersion": 3}
    assert replaced.metadata == {**stamp, "b": {**stamp, "d": stamp}}


def test_metadata_of_desired():
    """Each level has the time and version of its last change; what was not touched keeps its own."""
    first = patch_section(new_section(NOW), {"a": 1, "b": {"c": 2, "d": 3}}, NOW)
    second = patch_section(first, {"b": {"c": 4}}, LATER)
    old, new = (
        {"$lastUpdated": NOW, "$lastUpdatedVersion": 2},
        {"$lastUpdated": LATER, "$lastUpdatedVersion": 3},
    )
    assert second.metadata == {**new, "a": old, "b": {**new, "c": new, "d": old}}
    third = patch_section(second, {"b": None}, LATER)
    assert set(third.metadata) == {"$lastUpdated", "$lastUpdatedVersion", "a"}


def test_metadata_of_reported():
    """Reported properties have times alone."""
    changed = patch_section(new_section(NOW), {"a": {"b": 1}}, LATER, versioned=False)
    stamp = {"$lastUpdated": LATER}
    assert changed.metadata == {**stamp, "a": {**stamp, "b": stamp}}


def test_a_list_has_one_stamp():
    """There is no metadata inside a list."""
    changed = patch_section(new_section(NOW), {"a": [{"b": 1}]}, LATER, versioned=False)
    assert changed.metadata["a"] == {"$lastUpdated": LATER}


def test_what_is_shown():
    """`$version` always, `$metadata` where asked for."""
    section = patch_section(new_section(NOW), {"a": 1}, LATER)
    assert section.shown(metadata=False) == {"a": 1, "$version": 2}
    assert section.shown(metadata=True) == {"a": 1, "$metadata": section.metadata, "$version": 2}
    assert new_section(NOW).shown(metadata=True) == {"$metadata": {"$lastUpdated": NOW}, "$version": 1}


def test_the_changed_part():
    """A change event holds the patch, with the metadata of what is in it and no other."""
    section = patch_section(new_section(NOW), {"a": 1, "b": {"c": 2, "d": 3}}, NOW)
    patch = {"b": {"c": 4}, "gone": None, "$version": 7}
    changed = patch_section(section, patch, LATER)
    stamp = {"$lastUpdated": LATER, "$lastUpdatedVersion": 3}
    assert changed_part(changed, patch) == {
        "b": {"c": 4},
        "gone": None,
        "$metadata": {**stamp, "b": {**stamp, "c": stamp}},
        "$version": 3,
    }


# -- limits --------------------------------------------------------------------------------------------


def _deep(levels, value=1):
    made = value
    for _ in range(levels):
        made = {"a": made}
    return made


def _lists(levels):
    made = []
    for _ in range(levels - 1):
        made = [made]
    return made


LEAST, MOST = -4503599627370496, 4503599627370495
# what stands at a limit, and what is beyond it
EDGES = {
    "depth": (_deep(DEPTH_LIMIT), _deep(DEPTH_LIMIT + 1)),
    "depth with a list": (_deep(DEPTH_LIMIT - 1, [1]), _deep(DEPTH_LIMIT, [1])),
    "depth in a list": ({"a": [_deep(DEPTH_LIMIT - 2)]}, {"a": [_deep(DEPTH_LIMIT - 1)]}),
    "name": ({"k" * KEY_LIMIT: 1}, {"k" * (KEY_LIMIT + 1): 1}),
    "name in UTF-8": ({"ü" * (KEY_LIMIT // 2): 1}, {"ü" * (KEY_LIMIT // 2) + "k": 1}),
    "text": ({"a": "x" * TEXT_LIMIT}, {"a": "x" * (TEXT_LIMIT + 1)}),
    "text in a list": ({"a": ["x" * TEXT_LIMIT]}, {"a": ["x" * (TEXT_LIMIT + 1)]}),
    "text in UTF-8": ({"a": "ü" * (TEXT_LIMIT // 2)}, {"a": "ü" * (TEXT_LIMIT // 2) + "x"}),
    "most": ({"a": MOST}, {"a": MOST + 1}),
    "least": ({"a": LEAST}, {"a": LEAST - 1}),
    "number in a list": ({"a": [[MOST]]}, {"a": [[MOST + 1]]}),
    "a real number": ({"a": 1e300}, {"a": float("inf")}),
    "no number": ({"a": -0.0}, {"a": [float("nan")]}),
    "lists in lists": ({"a": _lists(DEPTH_LIMIT - 1)}, {"a": _lists(DEPTH_LIMIT)}),
    "many lists in lists": ({"a": [[]]}, {"a": _lists(900)}),
    "a digit too many": ({"a": 0}, {"a": 10**5000}),
    "half a surrogate": ({"a": "\U0001f600"}, {"a": ["\ud83d"]}),
}


@pytest.mark.parametrize("edge", EDGES)
def test_at_a_limit_and_beyond(edge):
    """The documented most is taken and one more is 400004, in sections and tags, by patch and replacement."""
    good, bad = EDGES[edge]
    changes = (
        lambda body: patch_section(Section(), body, NOW).values,
        lambda body: replace_section(Section(), body, NOW).values,
        lambda body: patch_tags({}, body),
    )
    for change in changes:
        assert change(good) == good
        with pytest.raises(ArgumentInvalid):
            change(bad)


NO_NAMES = ["", "a.b", "$a", "a$", "a b", " ", "a\tb", "a\nb", "a\0b", "a\x7fb", "a\x80b", "a\x9fb", "\ud800"]
PLACES = [lambda n: {n: 1}, lambda n: {"a": {n: 1}}, lambda n: {"a": [{n: 1}]}, lambda n: {n: None}]


@pytest.mark.parametrize("name", NO_NAMES, ids=ascii)
@pytest.mark.parametrize("place", PLACES, ids=["top", "below", "in a list", "deleted"])
def test_names_that_no_property_may_have(name, place):
    """No dot, dollar, blank or control character, at any level."""
    with pytest.raises(ArgumentInvalid):
        patch_section(Section(), place(name), NOW)


@pytest.mark.parametrize("name", ["a-b", "ä", "1", "a/b", "a'b", '"', "\\", "☃", "a%20b", "_", "-"])
def test_names_that_a_property_may_have(name):
    """Everything else."""
    assert patch_section(Section(), {name: 1}, NOW).values == {name: 1}


@pytest.mark.parametrize("patch", [[], "text", 5, None, True], ids=repr)
def test_a_patch_is_an_object(patch):
    """400004 for any other JSON."""
    with pytest.raises(ArgumentInvalid):
        patch_tags({}, patch)


SIZES = [
    ({}, 0),
    ({"ab": "cde"}, 5),
    ({"ü": "ü"}, 4),
    ({"a": 1}, 9),
    ({"a": 1.5}, 9),
    ({"a": True}, 5),
    ({"a": None}, 1),
    ({"a": {"b": 1}}, 10),
    ({"a": [1, "x", {"b": False}]}, 15),
]


@pytest.mark.parametrize(("value", "size"), SIZES, ids=str)
def test_sizes_as_the_hub_counts_them(value, size):
    """Names and texts in UTF-8, 8 for a number, 4 for a truth value, nothing for the JSON around them."""
    assert size_of(value) == size


def _of_size(size):
    made, number = {}, 0
    while size > 0:
        name = f"k{number:03}"
        text = "x" * min(TEXT_LIMIT, size - len(name))
        made[name] = text
        size -= len(name) + len(text)
        number += 1
    return made


@pytest.mark.parametrize("limit", [TAGS_LIMIT, SECTION_LIMIT])
def test_the_size_of_a_whole(limit):
    """8 KB of tags, 32 KB of desired and of reported properties: what it comes to counts, not the patch."""

    def change(values, patch):
        if limit == TAGS_LIMIT:
            return patch_tags(values, patch)
        return patch_section(Section(values), patch, NOW).values

    full = _of_size(limit)
    assert size_of(full) == limit
    assert change({}, full) == full
    with pytest.raises(ArgumentInvalid, match=str(limit)):
        change({}, _of_size(limit + 1))
    with pytest.raises(ArgumentInvalid):
        change(full, {"a": ""})
    assert size_of(change(full, {"k000": None})) < limit
    assert change(full, {"k000": None, "a": "x"})["a"] == "x"
