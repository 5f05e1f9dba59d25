"""One CT: `body` measures vertebral bodies, `cement` cement and leaks; levels, angles, sacrum. Begin with `study`."""
