"""What is measured: numbers of the function, of its gradients by hand and of two oracles."""
