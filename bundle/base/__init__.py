"""What every other package uses: errors and exit codes, limits, safe text, JSON and arrays in files."""
