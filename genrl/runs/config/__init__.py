"""What a run is: its frozen dataclass, which is also its flags and its help, and the files that it can be read from. Imports no torch."""
