"""Builders of whole nets, made of layers."""
