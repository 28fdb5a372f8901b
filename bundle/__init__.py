"""The ground floor: what the device side needs to read a bundle and judge it. NumPy and pydantic only, Python 3.10."""
