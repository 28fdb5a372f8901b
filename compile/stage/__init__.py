"""What every stage stands on: configuration, store, artifacts, image files, comparison of outputs, command line."""
