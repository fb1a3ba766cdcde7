"""Training: the data set, the search for a model, its honest evaluation, its export.

Stands for the series' fourth part, where an automated search learns a car's speed from its throttle, its rpm
and its acceleration. Imports nothing by itself; each module needs the extra `train`.
"""
