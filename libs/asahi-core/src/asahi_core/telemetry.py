"""Traces (OpenTelemetry) and metrics (Prometheus). Labels are bounded: never an organisation, a key or free text."""

from collections.abc import Iterator
from contextlib import contextmanager

from opentelemetry import trace
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from prometheus_client import REGISTRY, Histogram, start_http_server

_BUCKETS_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_propagator = TraceContextTextMapPropagator()

RPC_SERVER_SECONDS = Histogram(
    "asahi_rpc_server_duration_seconds", "Time a service took to answer a call.", ["method", "code"], buckets=_BUCKETS_S
)


class Tracing:
    """Starts spans where a collector is configured and the request is sampled; else only passes the context on."""

    def __init__(self, service: str, otlp_endpoint: str, ratio: float) -> None:
        self._tracer: trace.Tracer | None = None
        self._provider: TracerProvider | None = None
        if otlp_endpoint:
            from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter  # noqa: PLC0415 - 20 MB

            resource = Resource.create({SERVICE_NAME: f"asahi-{service}"})
            self._provider = TracerProvider(sampler=ParentBased(TraceIdRatioBased(ratio)), resource=resource)
            self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=otlp_endpoint)))
            self._tracer = self._provider.get_tracer("asahi")

    @contextmanager
    def span(self, name: str, traceparent: str, kind: trace.SpanKind = trace.SpanKind.SERVER) -> Iterator[str]:
        """Spans what runs inside; yields the `traceparent` for the calls made there."""
        if self._tracer is None:
            yield traceparent
            return
        parent = _propagator.extract({"traceparent": traceparent}) if traceparent else None
        with self._tracer.start_as_current_span(name, context=parent, kind=kind):
            carrier: dict[str, str] = {}
            _propagator.inject(carrier)
            yield carrier.get("traceparent", traceparent)

    def close(self) -> None:
        """Sends what is still buffered."""
        if self._provider is not None:
            self._provider.shutdown()


def serve_metrics(address: str) -> None:
    """Serves the process's metrics on `address` (host:port) from a thread of its own; empty: not at all."""
    if address:
        host, _, port = address.rpartition(":")
        start_http_server(int(port), addr=host, registry=REGISTRY)
