"""Grafana dashboards as code, written into the chart and the monitor example."""
