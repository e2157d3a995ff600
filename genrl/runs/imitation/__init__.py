"""What `genrl imitate` adds: the demonstrations of a run, the form of the reward that suits them, and how near an episode is to them."""
