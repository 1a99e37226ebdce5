"""Calibration files, rectification, capture."""
