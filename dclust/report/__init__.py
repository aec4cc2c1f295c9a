"""What a job found, as one page of figures and pictures.

`findings` is all the page knows, `page` writes it; `figures` and `tables` draw, `words` formats.
"""
