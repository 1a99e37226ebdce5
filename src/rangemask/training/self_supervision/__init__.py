"""The backbone learns from images without labels, and guards stop it before it forgets."""
