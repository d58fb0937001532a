"""Grafana's dashboards as code: `make dashboards` writes `../grafana/dashboards/*.json` from these modules."""
