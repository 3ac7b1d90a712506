"""Counts of the retrieval service, in Prometheus' text form."""

from bisect import bisect_left

__all__ = ["ServiceMetrics"]

BOUNDS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class ServiceMetrics:
    """Requests by status and by how long they took."""

    def __init__(self) -> None:
        self._statuses: dict[int, int] = {}
        self._within = [0] * (len(BOUNDS_S) + 1)
        self._seconds = 0.0

    def count(self, status: int, seconds: float) -> None:
        """One request to /retrieve."""
        self._statuses[status] = self._statuses.get(status, 0) + 1
        self._within[bisect_left(BOUNDS_S, seconds)] += 1
        self._seconds += seconds

    def text(self, waiting: int, batches: int, searched: int) -> str:
        """The page that Prometheus reads."""
        lines = ["# TYPE mia_retrieve_requests_total counter"]
        lines += [f'mia_retrieve_requests_total{{status="{status}"}} {n}' for status, n in self._statuses.items()]
        lines += [
            "# TYPE mia_retrieve_queries_total counter",
            f"mia_retrieve_queries_total {searched}",
            "# TYPE mia_retrieve_batches_total counter",
            f"mia_retrieve_batches_total {batches}",
            "# TYPE mia_retrieve_waiting_queries gauge",
            f"mia_retrieve_waiting_queries {waiting}",
            "# TYPE mia_retrieve_seconds histogram",
        ]
        total = 0
        for bound, count in zip((*map(str, BOUNDS_S), "+Inf"), self._within, strict=True):
            total += count
            lines.append(f'mia_retrieve_seconds_bucket{{le="{bound}"}} {total}')
        lines += [f"mia_retrieve_seconds_sum {self._seconds:.6f}", f"mia_retrieve_seconds_count {total}"]
        return "\n".join(lines) + "\n"
