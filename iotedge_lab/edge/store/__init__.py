"""The edge runtime's SQLite file: store and forward, and what is remembered while the link is cut."""

from iotedge_lab.edge.store.file import EdgeStore
from iotedge_lab.edge.store.kept import KeptIdentities, KeptSessions, KeptTwin, KeptTwins
from iotedge_lab.edge.store.parcels import Entry, Lane, Parcel, QueueFigures
from iotedge_lab.edge.store.pump import Outlet, Pump, Unsendable
from iotedge_lab.edge.store.queues import Queues

__all__ = [
    "EdgeStore",
    "Entry",
    "KeptIdentities",
    "KeptSessions",
    "KeptTwin",
    "KeptTwins",
    "Lane",
    "Outlet",
    "Parcel",
    "Pump",
    "QueueFigures",
    "Queues",
    "Unsendable",
]
