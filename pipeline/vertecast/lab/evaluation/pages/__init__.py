"""What an evaluation leaves behind to be read: pages, plots, pictures of the worst."""
