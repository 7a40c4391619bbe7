"""What is done with a program that was found: taken apart by training, tuned."""
