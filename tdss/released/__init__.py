"""Models of other systems as their released code saves them: what their tensors tell, and our names for them."""
