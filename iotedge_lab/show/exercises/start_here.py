"""The check of notebook 00's only exercise, which is about exercises."""

from __future__ import annotations

from typing import TYPE_CHECKING

from iotedge_lab.show.exercises.verdict import Wrong, ask, check

if TYPE_CHECKING:
    from collections.abc import Callable


@check
def check_greeting(greeting: Callable[[str], str]) -> str:
    """A function that greets by name."""
    for name in ("Ada", "Grace"):
        answer = ask(greeting, name)
        if not isinstance(answer, str):
            raise Wrong(f"greeting({name!r}) gave {answer!r}; a text was expected")
        if name not in answer:
            raise Wrong(f"greeting({name!r}) gave {answer!r}, without the name; put it in with an f-string")
        if answer.strip() == name:
            raise Wrong(f"greeting({name!r}) gave the name alone; say hello as well")
    return "this is how every exercise answers"
