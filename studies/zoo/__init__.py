"""The zoo: every system of the field trained for the same budget, built for two targets, and what each costs in one table."""
