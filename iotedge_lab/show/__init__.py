"""What a notebook shows: pictures with alt text, small tables, and the words that judge an exercise.

Imports anything; nothing imports it. It wraps no SDK: it takes rows, frames and events and makes them
visible. Whatever it puts out is the same text at each run, so that a stored notebook can be compared.
"""
