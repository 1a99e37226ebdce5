"""FoundationStereo (arXiv 2501.09898), written anew: plain PyTorch, any device."""
