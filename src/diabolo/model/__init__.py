"""L2: the parts of an autoencoder, the one objective over them, and the model that composes them."""
