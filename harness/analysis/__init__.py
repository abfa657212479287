"""Tables, figures and the report of a sweep.

In: the `Sweep` built by `tracking.frames`. Out: text, figures and an HTML page. Independent of training and the store.
"""
