"""How fast, how lean: hand-written gradients against autodiff, training against peers."""
