"""Rules looked at closely: compared fairly, taken apart by training, tuned."""
