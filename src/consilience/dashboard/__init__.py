"""The live laboratory: a local web page on which people couple networks, and watch what happens.

The only package that imports Panel and Bokeh (the extra `dashboard`). `session` and `history` need neither.
"""
