"""What a device starts: one file with all that it needs of this project."""
