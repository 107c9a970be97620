"""Branch attention: which branch to attend to."""
