"""Networks that this project did not make, each through ``tdss pipeline --network`` for two targets, and what came of them."""
