"""Files of records, which hold many columns: Parquet and TFRecord, read in a process of their own.

The parent (:mod:`~tflite_converter.data.records.reading`) starts the process
(:mod:`~tflite_converter.data.records.worker`). That writes each column as a ``.npy`` file, or as files of
images or sounds; nothing of what it left is believed but numbers and names.
"""
