"""HTTP API: routes, handlers, JSON documents and the OpenAPI document."""
