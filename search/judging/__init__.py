"""How good a program is: grids, hurdles, races and paired tests around an evaluator."""
