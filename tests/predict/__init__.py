"""``tdss predict``: images, videos and streams in, what each task sees out."""
