"""Radiographs and cines: frames, their spacing and the plane where it holds, grey values, what is masked.

Begin with `images.read_projection`.
"""
