"""Measuring: from a CT and its segmentation to numbers with intervals, or the reason why there is none."""
