"""Draws the dashboard of ``etc/grafana-dashboard.json`` from a real run: nodes, load, faults, and a Prometheus."""
