"""Whether a task needs curiosity: how far noise alone, and an archive of places, get without a learner."""
