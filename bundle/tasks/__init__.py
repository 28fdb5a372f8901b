"""What a dense-prediction task is: its row, its data, its activation and its metric."""
