"""Parts of single experiments: their networks, formulas and measurements, a file each.

What two experiments need is in common/.
"""
