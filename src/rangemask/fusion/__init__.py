"""Arithmetic on maps and masks: distances, filters, refinement, point clouds."""
