"""A bundle on its way: packed, signed, unpacked and verified."""
