"""Files of records, which hold many columns: Parquet and TFRecord, read in a process of their own.

The parent (:mod:`.reading`) starts the process (:mod:`.worker`), which writes each column as a ``.npy`` file
or as files of images, and believes nothing of what it left but numbers and names.
"""
