"""One HTTP call to one host, for every adapter that speaks HTTP: bounded, without redirects, verified.

`client` makes a call and returns its reply whole · `connections` are kept between calls, through the environment's
proxy · `deadline` bounds the time and the bytes of a reply · `waits` reads the times that a reply names.
"""
