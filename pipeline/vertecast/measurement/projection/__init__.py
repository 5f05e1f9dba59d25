"""One radiograph, or one frame: heights, cement and leaks from six points a body. Begin with `study`."""
