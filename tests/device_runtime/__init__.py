"""The one file that a device starts."""
