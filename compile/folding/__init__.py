"""Folding as variable elimination on a graph of linear maps: read, choose what to keep, emit."""
