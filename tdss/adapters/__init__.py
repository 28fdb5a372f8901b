"""Adapters: one file per published system, and base.py, their contract."""
