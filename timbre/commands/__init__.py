"""The commands that speak to a server, a file a subject; `timbre.cli` puts them together."""
