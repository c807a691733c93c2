"""`python -m deploy.k8s.generate`: writes what is derived in the charts.

That is, from `values/`, `alerts.yaml` and `dashboards.py`: each chart's values.yaml, values.schema.json, README.md and
alerts, and the umbrella's dashboards. A test compares them.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from deploy.k8s.dashboards import DASHBOARDS, grafana
from deploy.k8s.values_source import Value, leaves, read_values, schema_of

HERE = Path(__file__).parent
CHARTS = HERE / "charts"
SERVICES = ("edge", "auth", "cache", "router", "billing")
WITH_DATABASE = ("auth", "cache", "router", "billing")
_NOT_OF = {"cache": ("autoscaling",), "edge": ("shutdownGraceSeconds",), "router": ("shutdownGraceSeconds",)}
"""Keys of `shared.yaml` that a chart does not have: edges stay at the cache replica that they are attached to, so that
more replicas take no load off; who streams waits for its requests."""
_INJECTED = {"enabled": {"type": "boolean"}, "global": {"type": "object"}, "library": {"type": "object"}}
"""What helm adds where a chart is part of another."""


def values_of(chart: str) -> list[Value]:
    """The keys of a chart, its own first."""
    own = read_values(HERE / "values" / f"{chart}.yaml", chart)
    if chart == "asahi":
        return own
    taken = {value.name for value in own} | set(_NOT_OF.get(chart, ()))
    return own + [value for value in read_values(HERE / "values" / "shared.yaml", chart) if value.name not in taken]


def derived() -> Iterator[tuple[Path, str]]:
    """Every derived file, and what it has to contain."""
    for chart in (*SERVICES, "asahi"):
        values, folder = values_of(chart), CHARTS / chart
        yield folder / "values.yaml", _values_file(chart, values)
        yield folder / "values.schema.json", json.dumps(_schema(chart, values), indent=1) + "\n"
        yield folder / "README.md", _readme(chart, values)
        if chart != "asahi":
            yield folder / "files" / "alerts.yaml", yaml.safe_dump(alerts_of(chart), sort_keys=False, width=110)
    for name, dashboard in DASHBOARDS.items():
        text = json.dumps(grafana(name, dashboard), indent=1) + "\n"
        yield CHARTS / "asahi" / "files" / "dashboards" / f"{name}.json", text


def alerts_of(service: str) -> dict[str, Any]:
    """A service's alerts as Prometheus takes them: those of every service, and its own."""
    source = (HERE / "alerts.yaml").read_text(encoding="utf-8")
    alerts = yaml.safe_load(source)
    shared = yaml.safe_load(yaml.safe_dump(alerts["every"], sort_keys=False).replace("SERVICE", service))
    rules = [
        {
            "alert": rule["alert"],
            "expr": " ".join(rule["expr"].split()),
            "for": rule["for"],
            "labels": {"severity": rule["severity"], "service": service},
            "annotations": {
                "summary": rule["summary"],
                "runbook_url": f"RUNBOOKS/{rule['runbook']}.md",
            },
        }
        for rule in [*alerts.get(service, []), *shared]
    ]
    return {"groups": [{"name": f"asahi-{service}", "rules": rules}]}


def _values_file(chart: str, values: list[Value]) -> str:
    blocks = ["\n".join(value.lines) for value in values]
    head = f"# Values of the chart {chart}. Made by `make charts` from deploy/k8s/values: change them there."
    return "\n\n".join([head, *blocks]) + "\n"


def _schema(chart: str, values: list[Value]) -> dict[str, Any]:
    schema = schema_of(values)
    schema["properties"].update(_INJECTED if chart != "asahi" else {"library": {"type": "object"}})
    rules = yaml.safe_load((HERE / "values" / "rules.yaml").read_text(encoding="utf-8"))
    kinds = [] if chart == "asahi" else ["shared", *(["database"] if chart in WITH_DATABASE else []), chart]
    found = [rule for kind in kinds for rule in rules.get(kind, [])]
    return {"$schema": "http://json-schema.org/draft-07/schema#", **schema, **({"allOf": found} if found else {})}


def _readme(chart: str, values: list[Value]) -> str:
    facts = yaml.safe_load((CHARTS / chart / "Chart.yaml").read_text(encoding="utf-8"))
    rows = [
        f"| `{name}` | `{json.dumps(value.default)}` | {value.comment} |".replace("|| ", "| ")
        for name, value in leaves(values)
    ]
    more = "Its parts take the values of their own charts, below `edge`, `auth`, `cache`, `router` and `billing`. "
    return "\n".join(
        [
            f"# Chart {chart}",
            "",
            f"{facts['description']}. Kubernetes {facts['kubeVersion'].removesuffix('-0')}, Helm 3 and 4.",
            "",
            (more if chart == "asahi" else "")
            + "How to install, upgrade and run it: [docs/operations](../../../../docs/operations/README.md).",
            "",
            "Made by `make charts` from `deploy/k8s/values`. A key that is not here is refused.",
            "",
            "| key | default | meaning |",
            "| --- | --- | --- |",
            *rows,
            "",
        ]
    )


def main() -> None:
    """Writes what differs, and says which files."""
    for path, text in derived():
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
            print(path.relative_to(HERE.parents[1]))


if __name__ == "__main__":
    main()
