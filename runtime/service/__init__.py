"""A run as a process that others look after: a service manager, a health check, Prometheus."""
