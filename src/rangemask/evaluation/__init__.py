"""Judging anything that predicts."""
