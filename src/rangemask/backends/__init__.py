"""Models that turn a frame into maps or masks, behind three small protocols."""
