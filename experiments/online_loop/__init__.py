"""Does retraining pay? The last events of a data set, replayed in the order of time.

    first 80 %  -> a bundle
    the rest    -> slices of N events: first every event is a target, ranked for by its user's
                   history at that moment; then the slice is known, and bundles are made anew

    frozen   the first bundle, over the histories and the catalogue of the moment
    warm     retrained after every slice from its own weights, as the platform does
    full     retrained after every slice from nothing

An item is in the catalogue from the slice on in which it is first met; what a bundle does not know
of it is estimated from its content, as when it is posted between two trainings.
"""
