"""The network of radiographs and cines. Begin with `segmenter.XraySegmenter`."""
