"""Tables, figures and the report of a sweep.

In: the `Sweep` that `tracking.frames` builds. Out: text, figures, an HTML page. Independent of training and the store.
"""
