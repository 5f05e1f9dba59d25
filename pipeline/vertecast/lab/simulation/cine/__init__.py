"""Fluoroscopy of a treatment: who moves when, how it looks, how cement grows."""
