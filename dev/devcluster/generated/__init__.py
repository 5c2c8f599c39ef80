"""Files of the repository that are written from others: CRD, chart page, requirements of the images."""
