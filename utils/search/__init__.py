"""Several trainings in place of one: a search for better hyper-parameters (--evolve), one for each seed (--seeds)."""
