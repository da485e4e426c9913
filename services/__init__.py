"""Timbre's gRPC services and what they share."""
