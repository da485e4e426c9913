"""Timbre: turn recordings of a voice into a fine-tuned text-to-speech voice, and serve it."""

from pkgutil import extend_path

# The generated gRPC packages (timbre.jobs.v1, …) live in gen/, beside this one.
__path__ = extend_path(__path__, __name__)
