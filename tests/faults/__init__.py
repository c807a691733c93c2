"""The fault machine: breaks everything at random under mixed traffic, and compares three books afterwards."""

import os

# Processes are started while calls are under way: what gRPC does at a fork crashes the child then.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "false")
