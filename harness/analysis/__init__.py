"""From data frames of runs to tables, figures and the report.

In: `Sweep` from `tracking.frames`. Out: text, figures, a page. Knows neither training nor a store.
"""
