"""The CT networks: where the spine is, its outlines, a closer look at each vertebra. Begin with `segmenter`."""
