"""Which values to keep: what each choice costs a target, and the search over the choices."""
