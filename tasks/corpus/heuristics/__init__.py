"""Rules for ordinary text: Gopher, C4, FineWeb and FineWeb-2, with thresholds per language in `conf/heuristics`."""
