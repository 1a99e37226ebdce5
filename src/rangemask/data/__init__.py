"""Dataset readers, map files and synthetic scenes."""
