"""Which program next: the genome, mutations, what is known without training, and who the parents are."""
