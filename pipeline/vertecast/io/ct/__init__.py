"""A series of CT images as one `Volume`: which series, in which order, on which grid. Begin with `series.read_ct`."""
