"""What a user would do instead: other ways to run the same checkpoint, timed beside ours."""
