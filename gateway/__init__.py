"""The HTTP gateway: the documented REST interface in front of the gRPC services. It imports no torch."""
