"""Prometheus's rules, and Grafana's dashboards as code."""
