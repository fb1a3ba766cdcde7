"""The checks of the notebooks' exercises, a module a notebook, and the words they answer with.

A check never raises: it answers "Not yet: ..." to a stub, "Wrong: ..." with what is wrong and what to try,
or "OK: ...". So "Run All" reaches the end of a notebook whose exercises are unsolved.
"""

from iotedge_lab.show.exercises.verdict import NotYet, Verdict, Wrong, ask, check, run

__all__ = ["NotYet", "Verdict", "Wrong", "ask", "check", "run"]
