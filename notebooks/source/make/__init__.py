"""The notebooks' maker: one source a notebook, built, executed, judged and stored.

    python -m notebooks.source              # all: build, execute top to bottom, judge, store
    python -m notebooks.source 03           # those whose name starts so
    python -m notebooks.source --check      # write nothing; say which notebook differs from its source

A source is `notebooks/source/NN_name.py` in jupytext's percent format, so an editor that knows the format
runs it cell by cell. `source` reads it and spells out the exercises, `execute` runs the cells with a lab of
their own, `hygiene` holds the rules that a stored notebook keeps, `command` is what the terminal calls. An
author writes each exercise once: stub, check and collapsed solution come from one block (see `source`).

Leaves out: pairing in both directions. What is typed into an .ipynb is not carried back; the source is.
"""
