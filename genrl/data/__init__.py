"""Data: what others or a model recorded, as arrays. No environments and no learners here."""

from genrl.data.demonstrations import DemonstrationError, Demonstrations, Episode

__all__ = ["DemonstrationError", "Demonstrations", "Episode"]
