"""What a dense-prediction task is: its row, its kind, its data and its metrics."""
