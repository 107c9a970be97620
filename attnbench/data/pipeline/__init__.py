"""What readers share: splits, order, augmentation, caches, streams."""
