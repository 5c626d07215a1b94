"""Settings of every Python test. Property tests have no deadline: a busy machine is no failure."""

from hypothesis import settings

settings.register_profile("waypost", deadline=None)
settings.load_profile("waypost")
