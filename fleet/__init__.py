"""Several devices judge one bundle over SSH, and one page says how each fared."""
