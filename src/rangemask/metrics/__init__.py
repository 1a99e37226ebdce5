"""Numbers from arrays: disparity, depth and mask errors."""
