"""Progress of a sweep: display, heartbeat, registry, status."""
