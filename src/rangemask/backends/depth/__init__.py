"""Monocular depth models."""
