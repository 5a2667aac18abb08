"""What Prometheus is told: requests, rows, seconds, verdicts and drift; never a cell, nor a name of a column."""

from __future__ import annotations

import os
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

__all__ = ["MULTIPROCESS", "Metrics"]

#: Names the folder by which several worker processes add up.
MULTIPROCESS = "PROMETHEUS_MULTIPROC_DIR"
SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30)


class Metrics:
    """The endpoint's metrics, in a registry of its own."""

    def __init__(self) -> None:
        own = self._registry = CollectorRegistry()
        last: Any = "mostrecent"
        self._requests = Counter("diabolo_requests", "Requests answered.", ("route", "status"), registry=own)
        self._seconds = Histogram(
            "diabolo_request_seconds", "Seconds to an answer.", ("route",), buckets=SECONDS, registry=own
        )
        by = ("model",)
        self._rows = Counter("diabolo_rows", "Rows scored.", by, registry=own)
        self._anomalies = Counter("diabolo_anomalies", "Rows called anomalies.", by, registry=own)
        self._unscorable = Counter("diabolo_unscorable_rows", "Rows that could not be scored.", by, registry=own)
        self._loads = Counter("diabolo_model_loads", "Files taken up, or refused.", ("model", "result"), registry=own)
        self._loaded = Gauge(
            "diabolo_model_loaded_seconds",
            "Unix time at which a version was taken up.",
            ("model", "version"),
            registry=own,
            multiprocess_mode=last,
        )
        gauges = {
            "alarm": "Whether the latest rows have drifted: 1 for an alarm.",
            "rows": "Rows of the latest verdict.",
            "rate_promised": "False-alarm rate that was promised.",
            "rate_now": "Share of the latest rows that is flagged.",
            "rate_low": "Lower end of its 95 % interval.",
            "rate_high": "Upper end of its 95 % interval.",
            "p_value": "Smallest adjusted p-value of all tests of drift.",
        }
        self._drift = {
            name: Gauge(f"diabolo_drift_{name}", about, by, registry=own, multiprocess_mode=last)
            for name, about in gauges.items()
        }
        self._known: dict[tuple[str, int], tuple[Any, Any]] = {}

    def answered(self, route: str, status: int, seconds: float) -> None:
        """A request has its answer."""
        pair = self._known.get((route, status))
        if pair is None:
            pair = self._requests.labels(route, str(status)), self._seconds.labels(route)
            self._known[route, status] = pair
        pair[0].inc()
        pair[1].observe(seconds)

    def scored(self, model: str, result: pa.Table) -> None:
        """Rows have their scores."""
        self._rows.labels(model).inc(result.num_rows)
        if result.num_rows:
            self._anomalies.labels(model).inc(pc.sum(result["is_anomaly"]).as_py() or 0)
            self._unscorable.labels(model).inc(result["p_value"].null_count)

    def loaded(self, model: str, version: str, at: float) -> None:
        """A file has been taken up."""
        self._loads.labels(model, "loaded").inc()
        self._loaded.labels(model, version).set(at)

    def refused(self, model: str) -> None:
        """A file could not be taken up."""
        self._loads.labels(model, "refused").inc()

    def judged(self, model: str, said: dict[str, Any]) -> None:
        """A verdict on a window of rows."""
        rate = said["rate"]
        smallest = min(said["p_value"], rate["p_value"], said["unscorable_p_value"])
        smallest = min([smallest, *(c["p_value"] for c in said["columns"])])
        told = {
            "alarm": float(said["alarm"]),
            "rows": said["n_rows"],
            "rate_promised": rate["promised"],
            "rate_now": rate["now"],
            "rate_low": rate["low"],
            "rate_high": rate["high"],
            "p_value": smallest,
        }
        for name, value in told.items():
            self._drift[name].labels(model).set(float("nan") if value is None else value)

    def text(self) -> bytes:
        """All of it, as Prometheus reads it."""
        if MULTIPROCESS not in os.environ:
            return generate_latest(self._registry)
        whole = CollectorRegistry()
        MultiProcessCollector(whole)  # type: ignore[no-untyped-call]
        return generate_latest(whole)
