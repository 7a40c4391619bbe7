"""What a winner must pass beyond the search: the funnel, meta-validation, the sealed tasks."""
