"""The JSON of the HTTP interface, written by hand: it is documented, and so a contract of its own beside the protos."""
