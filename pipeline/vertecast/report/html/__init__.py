"""The pages: a study's report, the index of a run, and what they draw themselves. Begin with `page.write_page`."""
