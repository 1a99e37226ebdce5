"""Stereo matchers."""
