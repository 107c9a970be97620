"""Records as rows and columns."""
