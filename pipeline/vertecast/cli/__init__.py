"""The command ``vertecast``: its commands are in `main`."""
