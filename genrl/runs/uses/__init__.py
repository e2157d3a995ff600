"""What a trained run is used for: loaded, watched, recorded, exported and shared."""
