"""What was found against what is true; folders in, scores and pages out. Begin with `run`.

`datasets` reads, `maps` scores label maps, `studies` reports of CTs, `projections` those of films and cines, `real`
images that nobody simulated; `questions` and `assessment` ask all of them the same, `pages` shows the answers.
"""
