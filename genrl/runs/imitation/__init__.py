"""What `genrl imitate` adds: the demonstrations of a run, and the form of the reward that suits them."""
