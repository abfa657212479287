"""Compare training on chunks with training on the full sample."""
