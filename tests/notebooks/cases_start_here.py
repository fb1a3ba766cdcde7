"""Answers to notebook 00's exercise, and what the check says of each."""

from iotedge_lab.show.exercises.start_here import check_greeting
from iotedge_lab.show.exercises.verdict import Word

CASES = [
    (check_greeting, (), lambda name: f"Hello, {name}!", Word.OK, "every exercise"),
    (check_greeting, (), lambda _: ..., Word.NOT_YET, "gives nothing back"),
    (check_greeting, (), lambda _: "Hello!", Word.WRONG, "without the name"),
    (check_greeting, (), lambda name: name, Word.WRONG, "the name alone"),
    (check_greeting, (), lambda _: 3, Word.WRONG, "a text was expected"),
    (check_greeting, (), lambda name: name + 1, Word.WRONG, "TypeError"),
]
