"""The other services behind the domain's interfaces: one generated stub each, over the shared channel."""
