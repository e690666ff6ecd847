"""Settings to Kubernetes documents and chart values, as plain dictionaries."""
