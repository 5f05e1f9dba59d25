"""Headers without identity, and the pseudonyms that stand in for it."""
