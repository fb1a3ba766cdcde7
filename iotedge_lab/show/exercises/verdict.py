"""What a check answers, and how one is written.

    @check
    def check_double(double: Callable[[int], int]) -> str:
        answer = ask(double, 21)
        if answer == 21:
            raise Wrong("that is the number itself; double it")
        if answer != 42:
            raise Wrong(f"double(21) gave {answer!r}, 42 was expected")
        return "doubled"

`ask` calls the learner's function and speaks for it: an answer of None or `...` is "not yet" as long as the function
is a stub or returns nothing, an exception of the learner's code is named with its line, so that nobody has to read a
traceback through our code.
"""

from __future__ import annotations

import ast
import functools
import html
import inspect
import linecache
import numbers
import re
import sys
import textwrap
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any, Final, ParamSpec, TypeVar

from iotedge_lab import progress
from iotedge_lab.hub.state import StateFolder

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

P = ParamSpec("P")
T = TypeVar("T")

SOLUTION: Final = "# One solution"
"""How the cell of a folded solution begins"""


_LONGEST_CALL: Final = 80
"""Characters of a call that a verdict still spells out."""

_OUR_OWN = re.compile(r"\b_(?=[A-Z]\w*' object )|\b_[A-Z]\w*\.(?=\w+\(\))")
"""What Python says of a check's stand-in for an SDK's object: its underscore, and its name before a method's."""


class Word(Enum):
    """How a verdict begins."""

    OK = "OK"
    NOT_YET = "Not yet"
    WRONG = "Wrong"


_SIGNS = {Word.OK: "✓", Word.NOT_YET: "…", Word.WRONG: "✗"}
# JupyterLab's own colours, so that both of its themes stay readable; the word says it without colour too.
_COLOURS = {
    Word.OK: "var(--jp-success-color1, #388e3c)",
    Word.NOT_YET: "var(--jp-warn-color1, #f57c00)",
    Word.WRONG: "var(--jp-error-color1, #d32f2f)",
}


class NotYet(Exception):
    """An answer, not an error: the exercise has not been begun, or a part of it is still open."""


class Wrong(Exception):
    """An answer, not an error: the message says what is wrong in it and what to try."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """The answer of a check. True only when the exercise is solved."""

    word: Word
    text: str

    def __bool__(self) -> bool:
        return self.word is Word.OK

    def __repr__(self) -> str:
        return f"{self.word.value}: {self.text}"

    def _repr_html_(self) -> str:
        bar = f"border-left:4px solid {_COLOURS[self.word]};padding:4px 10px"
        sentence, _, picture = self.text.partition("\n")  # such as a route with a caret under the slip
        shown = f"<b>{_SIGNS[self.word]} {self.word.value}:</b> {html.escape(sentence)}"
        if picture:
            shown += f'<pre style="margin:4px 0 0">{html.escape(picture)}</pre>'
        return f'<div style="{bar}">{shown}</div>'


def check(judge: Callable[P, str]) -> Callable[P, Verdict]:
    """Make a check of a function that returns words of praise or raises `NotYet` or `Wrong`."""

    @functools.wraps(judge)
    def checked(*args: P.args, **kwargs: P.kwargs) -> Verdict:
        try:
            praise = judge(*args, **kwargs)
            _note(judge, sys._getframe(1))  # noqa: SLF001 - the cell that asks
            return Verdict(Word.OK, praise)
        except NotYet as answer:
            return Verdict(Word.NOT_YET, str(answer))
        except Wrong as answer:
            return Verdict(Word.WRONG, str(answer))

    return checked


def _note(judge: Callable[..., str], asker: FrameType) -> None:
    """Keep that the exercise is solved, by the learner or by the folded solution, which says so in its first line."""
    home, _, module = judge.__module__.rpartition(".")
    if home != __name__.rpartition(".")[0]:
        return  # a check of somebody else's
    if "get_ipython" not in asker.f_globals:
        return  # a script or a test, and no notebook
    first = next(iter(linecache.getlines(asker.f_code.co_filename)), "")
    name = f"{module}.{judge.__name__.removeprefix('check_')}"
    progress.note(StateFolder().path, name, "solution" if first.startswith(SOLUTION) else "you")


def ask(function: Any, *args: Any, **kwargs: Any) -> Any:
    """Call the learner's function. Raises `NotYet` where it gives nothing back yet, `Wrong` where it might have.

    None or `...` is not yet an answer of a stub, or of a function without a `return`; of one that returns something
    in other cases it is a wrong one. An exception of the function's own is `Wrong`, too.
    """
    answer = run(function, *args, **kwargs)
    if answer is ... or answer is None:
        raise _nothing(function, answer, args)
    return answer


def ask_list(function: Any, of: str, *args: Any) -> list[Any]:
    """As `ask`, for what can be gone through: a list, a tuple, a generator. of: what is in it, such as "frames".

    What a generator raises while it is gone through is the learner's, too. Raises `NotYet` for a `...` in the list.
    """
    answer = ask(function, *args)
    if isinstance(answer, str) or not hasattr(answer, "__iter__"):
        shown = repr(answer) if isinstance(answer, str) else _a(answer)
        raise Wrong(f"a list of {of} was expected, {_name(function)} gave {shown}")
    given = _guarded(lambda: list(answer), function, args)
    if any(each is ... for each in given):
        raise NotYet("replace the ... in it and run both cells again")
    return given


def ask_bool(function: Any, *args: Any) -> bool:
    """As `ask`, for a truth value; NumPy's is one, too."""
    answer = ask(function, *args)
    if type(answer).__name__ not in ("bool", "bool_"):
        raise Wrong(f"True or False was expected, {_name(function)} gave {answer!r}")
    return bool(answer)


def is_number(answer: object) -> bool:
    """Whether an answer is a number, be it Python's or NumPy's; True is none."""
    return isinstance(answer, numbers.Real) and not isinstance(answer, bool)


def _nothing(function: Any, answer: Any, args: tuple[Any, ...]) -> NotYet | Wrong:
    """What to say of a function that has given nothing back, by what is written in it."""
    name = _name(function)
    try:
        written = list(ast.walk(ast.parse(textwrap.dedent(inspect.getsource(function)))))
    except (OSError, TypeError, SyntaxError):  # no file, no function, a lambda in the middle of a line
        written = []
    if answer is ... or not written or any(getattr(node, "value", None) is ... for node in written):
        return NotYet(f"{name} gives nothing back yet; replace the ... in it and run both cells again")
    returned = [node.value for node in written if isinstance(node, ast.Return) and node.value is not None]
    if all(isinstance(value, ast.Constant) and value.value is None for value in returned):
        prints = any(isinstance(node, ast.Name) and node.id == "print" for node in written)
        why = ": print shows a value, and hands over nothing" if prints else ""
        return NotYet(f"{name} gives nothing back yet{why}; end it with return and the answer")
    return Wrong(
        f"{_call(function, args)} gave {answer!r}, and an answer was expected; "
        "does each way through it end with return?"
    )


def _name(function: Any) -> str:
    return str(getattr(function, "__name__", "your function"))


def _call(function: Any, args: tuple[Any, ...]) -> str:
    """The call in short: with its arguments where they are few, since they say which case it was."""
    name = _name(function)
    call = f"{name}({', '.join(map(repr, args))})"
    return call if len(call) <= _LONGEST_CALL and "<" not in call.removeprefix("<lambda>") else name


def run(function: Any, *args: Any, **kwargs: Any) -> Any:
    """Call a function of the learner's that may give nothing back. Raises as `ask` does, but for None."""
    if function is ... or function is None:
        raise NotYet("write the function first, then run this cell again")
    if not callable(function):
        raise Wrong(f"a function was expected here, this is {_a(function)}; hand over its name, without ()")
    return _guarded(lambda: function(*args, **kwargs), function, args)


def _guarded(work: Callable[[], T], function: Any, args: tuple[Any, ...]) -> T:
    """What the work gives, in which the learner's code runs; what that raises is said, with its line."""
    try:
        return work()
    except (NotYet, Wrong):
        raise  # a stand-in for an SDK's object has its say
    except Exception as error:
        said = _OUR_OWN.sub("", str(error))
        if "'ellipsis'" in said:  # as in `... + 1`
            raise NotYet("replace the ... in it and run both cells again") from error
        if isinstance(error, TypeError) and " for ^:" in said:
            said += "; a power is ** in Python"
        line = _line_of(error, function)
        raise Wrong(f"{_call(function, args)} raised {type(error).__name__}: {said}{line}") from error


def _a(value: object) -> str:
    name = type(value).__name__.lstrip("_")  # a check's stand-in has an underscore
    return f"{'an' if name[:1].lower() in 'aeiou' else 'a'} {name}"


def _line_of(error: BaseException, function: Any) -> str:
    """Where in the learner's own function the error arose, as " (line 3 of its cell)"; empty if nowhere."""
    code = getattr(function, "__code__", None)
    trace, line = error.__traceback__, None
    while trace is not None:
        if trace.tb_frame.f_code is code:
            line = trace.tb_lineno
        trace = trace.tb_next
    return "" if line is None else f" (line {line} of its cell)"
