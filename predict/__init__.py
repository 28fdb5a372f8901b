"""Run a bundle on images and videos, and write what each task sees."""
