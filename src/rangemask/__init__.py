"""Masks that know how far away they are."""
