"""A patient drawn: proportions (`population`), spine, bones and their wear, and all that lies round them (`tissue`)."""
