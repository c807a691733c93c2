"""What a provider does, without any wire format: write, count, remember prefixes, fail as told, keep count."""
