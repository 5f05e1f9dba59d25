"""Patients that never lived, with their truth.

A `patient` is drawn, gets a `treatment`, and is seen by `ct`, on films (`projection`) or in a `cine`. Studies come from
`ct.studies`, `projection.film_studies` and `cine.fluoroscopy`; training takes `ct.crops` and `projection.pictures`.
"""
