"""Duplicates: exact ones by content, near ones by MinHash, in this corpus and against an earlier one's index."""
