"""Grafana dashboards as code, written into the chart and the monitor example.

Runs in the developer's process, by ``make generated``; its results are files of the chart.
"""
