"""Properties are about behaviour, never about speed: no example has a deadline."""

from hypothesis import settings

settings.register_profile("asahi", deadline=None)
settings.load_profile("asahi")
