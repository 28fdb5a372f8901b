"""The page and the tables, drawn from the files that a build leaves."""
