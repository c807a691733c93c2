"""Five services as their charts describe them, scraped by a real Prometheus: alerts at real faults, dashboards."""
