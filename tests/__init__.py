"""Tests of the whole system: real processes, real gRPC, real stores."""
