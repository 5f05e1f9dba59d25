"""Vertebral bodies on CT: outline, endplates, walls, heights, density. Begin with `heights.fit_bodies`."""
