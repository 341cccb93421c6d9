"""What a self-contained function carries: the text of these modules, joined into one, is run where the function is.

They import the standard library alone, and run on any Python from 3.10 on. A name stands for one thing in all of them.
"""
