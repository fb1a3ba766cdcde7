"""The metrics of an edge hub and its modules, in Prometheus text.

Stands for "Access built-in metrics" (learn.microsoft.com, IoT Edge, how-to-access-built-in-metrics); the names are
those of the real edgeHub and edgeAgent where they have one. What differs: summaries have sum and count, no quantiles;
they are asked for at the gateway's own HTTPS port (`/metrics`), and not at 9600 in a container.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, SummaryMetricFamily
from prometheus_client.registry import Collector

from iotedge_lab.edge.agent import RuntimeStatus

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from prometheus_client import Metric

    from iotedge_lab.edge.agent import ModuleState
    from iotedge_lab.edge.runtime.device import EdgeDevice

_BASE = ("iothub", "edge_device", "instance_number")


class Starts:
    """How often each module's process was started and has ended, since the runtime started."""

    def __init__(self) -> None:
        self.counts: dict[str, tuple[int, int]] = {}
        self._seen: dict[str, tuple[float | None, float | None]] = {}

    def look(self, states: Mapping[str, ModuleState]) -> None:
        """Something has changed about the modules."""
        for name, state in states.items():
            started, exited = self._seen.get(name, (None, None))
            starts, ends = self.counts.get(name, (0, 0))
            starts += state.started not in (None, started)
            # What could not be started has an end, and none began.
            ends += state.started is not None and state.exited not in (None, exited)
            self.counts[name] = (starts, ends)
            self._seen[name] = (state.started, state.exited)


class _Reader(Collector):
    """Reads the numbers of one device when it is asked."""

    def __init__(self, device: EdgeDevice) -> None:
        self._device = device
        self._labels = [device.cloud.hostname, device.id, "1"]

    def collect(self) -> Iterator[Metric]:
        """All families."""
        yield from self._messages()
        yield from self._queues()
        yield from self._clients()
        yield from self._modules()

    def _messages(self) -> Iterator[Metric]:
        counters = self._device.hub.counters
        yield self._counter("edgehub_messages_received", "Messages received from clients", counters.messages)
        sent = CounterMetricFamily(
            "edgehub_messages_sent", "Messages acknowledged by where they went", labels=[*_BASE, "to"]
        )
        took = SummaryMetricFamily(
            "edgehub_message_send_duration_seconds",
            "From sending a message to its acknowledgement",
            labels=[*_BASE, "to"],
        )
        for to, timing in counters.sent.items():
            sent.add_metric([*self._labels, to], timing.count)
            took.add_metric([*self._labels, to], timing.count, timing.seconds)
        yield sent
        yield took
        stored = SummaryMetricFamily(
            "edgehub_message_process_duration_seconds",
            "From a message's arrival to its storage",
            labels=_BASE,
        )
        stored.add_metric(self._labels, counters.stored.count, counters.stored.seconds)
        yield stored
        yield self._counter("edgehub_gettwin", "Twins read by clients", counters.twin_reads)
        yield self._counter("edgehub_reported_properties", "Reports of clients", counters.reports)
        yield self._counter(
            "edgehub_direct_methods", "Direct methods called by clients", counters.method_calls
        )
        yield self._counter("edgehub_client_connect_failed", "Clients that were refused", counters.refused)

    def _queues(self) -> Iterator[Metric]:
        labels = [*_BASE, "endpoint", "source", "priority"]
        length = GaugeMetricFamily("edgehub_queue_length", "Messages that wait", labels=labels)
        oldest = GaugeMetricFamily(
            "edgehub_queue_oldest_seconds", "Age of the oldest that waits", labels=labels
        )
        dropped = CounterMetricFamily(
            "edgehub_messages_dropped",
            "Messages dropped: no_route, ttl_expiry, refused, module_removed",
            labels=[*_BASE, "reason"],
        )
        expired = refused = 0
        for each in self._device.hub.figures():
            names = [*self._labels, each.lane.endpoint, each.lane.source, str(each.priority)]
            length.add_metric(names, each.length)
            oldest.add_metric(names, each.oldest)
            expired += each.expired
            refused += each.refused
        purged = self._device.hub.pumps.purged
        dropped.add_metric([*self._labels, "no_route"], self._device.hub.router.dropped)
        dropped.add_metric([*self._labels, "ttl_expiry"], expired + purged["expired"])
        dropped.add_metric([*self._labels, "refused"], refused + purged["refused"])
        dropped.add_metric([*self._labels, "module_removed"], purged["removed"])
        yield length
        yield oldest
        yield dropped

    def _clients(self) -> Iterator[Metric]:
        connected = sum(1 for state in self._device.hub.client_states().values() if state["connected"])
        yield self._gauge("edgehub_connected_clients", "Clients that are connected", connected)
        yield self._gauge(
            "edgehub_upstream_connected", "Whether the hub is reached", self._device.is_connected
        )

    def _modules(self) -> Iterator[Metric]:
        names = [*_BASE, "module_name"]
        running = GaugeMetricFamily("edgeAgent_module_running", "Whether a module runs", labels=names)
        started = CounterMetricFamily("edgeAgent_module_start", "Processes started", labels=names)
        stopped = CounterMetricFamily("edgeAgent_module_stop", "Processes that have ended", labels=names)
        for name, state in self._device.supervisor.status().items():
            running.add_metric([*self._labels, name], float(state.status is RuntimeStatus.RUNNING))
        for name, (starts, ends) in self._device.starts.counts.items():
            started.add_metric([*self._labels, name], starts)
            stopped.add_metric([*self._labels, name], ends)
        yield running
        yield started
        yield stopped

    def _counter(self, name: str, text: str, value: float) -> Metric:
        made = CounterMetricFamily(name, text, labels=_BASE)
        made.add_metric(self._labels, value)
        return made

    def _gauge(self, name: str, text: str, value: float) -> Metric:
        made = GaugeMetricFamily(name, text, labels=_BASE)
        made.add_metric(self._labels, float(value))
        return made


def exposition(device: EdgeDevice) -> str:
    """The text of `/metrics`."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Reader(device))
    return generate_latest(registry).decode()
