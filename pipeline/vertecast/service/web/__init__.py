"""The service's own pages and interface over HTTP. Begin with `app`."""
