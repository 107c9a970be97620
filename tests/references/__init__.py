"""Each paper's equations a second time, in NumPy."""
