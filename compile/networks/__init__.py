"""Networks of another origin: what tasks.toml says of one, and how it becomes a graph with this project's tasks."""
