"""Data that stream: batches from a reader, on the device while the one before is used."""
