"""Published costs and the networks that reproduce them."""
