"""One folder per target: a printer and what runs the printed text."""
