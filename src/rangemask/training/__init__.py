"""Learning: the student's heads, their fusion and its backbone, from labels or without."""
