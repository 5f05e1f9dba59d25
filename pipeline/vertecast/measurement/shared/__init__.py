"""What holds on any kind of image: heights against those of other levels, counting of levels, plausible sizes."""
