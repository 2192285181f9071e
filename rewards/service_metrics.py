"""What the reward service tells Prometheus."""

from collections.abc import Callable, Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 25, 60, 120)


class ServiceMetrics:
    """Counts of one service; no label has a value that a client made up. With a name of `replica` each has it."""

    content_type = CONTENT_TYPE_LATEST

    def __init__(self, replica: str | None = None) -> None:
        self._own = {} if replica is None else {"replica": replica}
        self.num_http = 0  # HTTP requests under way
        self.num_bytes = 0  # of their bodies, as far as they are here
        self._registry = CollectorRegistry()
        self._seconds = Histogram(
            "sharpen_rewards_latency_seconds",
            "From acceptance to result, the wait for a worker included.",
            ["task"],
            buckets=BUCKETS_S,
            registry=self._registry,
        )
        self._results = Counter(
            "sharpen_rewards_results", "Results by task and status.", ["task", "status"], registry=self._registry
        )
        self._http = Counter(
            "sharpen_rewards_http_responses", "HTTP responses.", ["path", "status"], registry=self._registry
        )
        self._repeats = Counter(
            "sharpen_rewards_repeats",
            "Requests answered with the result of an earlier one of that id.",
            registry=self._registry,
        )

    def follow(self, name: str, description: str, read: Callable[[], float]) -> None:
        """A gauge that is read when Prometheus asks."""
        Gauge(f"sharpen_rewards_{name}", description, registry=self._registry).set_function(read)

    def count_result(self, task: str, status: str, seconds: float) -> None:
        self._results.labels(task, status).inc()
        self._seconds.labels(task).observe(seconds)

    def count_http(self, path: str, status: int) -> None:
        self._http.labels(path, str(status)).inc()

    def count_repeat(self) -> None:
        self._repeats.inc()

    def expose(self) -> bytes:
        """All metrics in Prometheus' text format."""
        return generate_latest(self)

    def collect(self) -> Iterable[Metric]:
        """All metrics with the service's own labels, as `generate_latest` reads them from any registry."""
        for metric in self._registry.collect():
            metric.samples = [sample._replace(labels=self._own | sample.labels) for sample in metric.samples]
            yield metric
