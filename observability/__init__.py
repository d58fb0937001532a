"""What watches the service: Prometheus's rules, and Grafana's dashboards as code."""
