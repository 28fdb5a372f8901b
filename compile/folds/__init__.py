"""Exact torch rewrites that merge what is static: one fold per file, none adds MACs or bytes."""
