"""Images and findings of known truth, made by the tests themselves."""
