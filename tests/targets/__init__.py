"""What each target promises beside the contract all of them share."""
