"""A cluster's behaviour on one host: rendered manifests as real containers in a network without a way out."""
