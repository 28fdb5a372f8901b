"""The one public command, ``tdss``: every stage of a compilation, and what one does with a bundle."""
