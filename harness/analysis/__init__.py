"""Tables, figures and the report of a sweep.

In: the `Sweep` that `tracking.frames` builds. Out: text, figures, an HTML page. Knows neither training nor the store.
"""
