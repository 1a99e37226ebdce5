"""Detectors of things by their names."""
