"""Mask heads of the student, automatic and promptable, and how their masks are merged."""
