"""Transport: gRPC servicers that translate, call the domain and translate back."""
