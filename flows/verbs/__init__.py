"""The verbs of `fullchain`, each a few lines: what is typed and what is printed; the work is elsewhere."""
