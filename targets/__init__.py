"""The devices one can compile for; the explicit table is in targets/table.py."""
