"""What every other package stands on: errors and exit codes, limits, safe text, JSON and arrays in files."""
