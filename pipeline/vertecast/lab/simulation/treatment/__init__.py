"""Cement grown through a body and out of it, and metal."""
