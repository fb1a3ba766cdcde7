"""The registry: each version of a model with what it is worth and where it comes from (`registry`).

Stands for arrow 4 of the series' picture, "register model". Kept by MLflow: in SQLite in the state folder, or on any
MLflow server. Imports nothing by itself; it needs the extra `registry`, and MLflow takes a second to load.
"""
