"""The routes: one file a resource, one RPC a route."""
