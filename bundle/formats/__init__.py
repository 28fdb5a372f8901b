"""The files of a bundle: what each one holds, how it is read, and how its integrity is checked."""
