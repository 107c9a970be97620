"""Channel attention: what to attend to."""
