"""Files of the repository that are written from others: CRD, chart page, requirements of the images.

Runs in the developer's process: ``make generated`` writes the files, ``make lint`` checks them.
"""
