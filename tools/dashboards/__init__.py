"""The operators' dashboards: what is on them, their form for Grafana, and pictures of them."""
