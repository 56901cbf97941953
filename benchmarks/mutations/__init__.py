"""The proof that fnn.check works: wrong gradients by the thousand, and who notices them."""
