"""What is kept of a search: the archive, its journal, and reading both again."""
