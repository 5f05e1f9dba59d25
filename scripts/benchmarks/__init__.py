"""What ``scripts/benchmark.py`` measures, a module for each subject, and how it is written down."""
