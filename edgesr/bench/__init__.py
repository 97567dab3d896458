"""Measuring: `interleave` times anything, `forms` times the graph forms of each target (`make bench`)."""
