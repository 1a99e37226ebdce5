"""What reads the shared features: depth, stereo, masks, semantics, and their fusion."""
