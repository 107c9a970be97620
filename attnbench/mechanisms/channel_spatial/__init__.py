"""Channel and spatial attention together."""
