"""gRPC between services: one server, one channel, one error translation, for all of them."""
