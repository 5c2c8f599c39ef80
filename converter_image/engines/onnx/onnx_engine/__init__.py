"""The ONNX engine: onnx2tf's back end that writes TFLite itself, and onnxruntime for what the original says.

``reading`` takes a file apart and refuses what cannot be converted, ``shaping`` gives its inputs their sizes,
``precision`` its numbers, ``converting`` makes the float file, ``layout`` finds which dimension went where,
``tflite_file`` gives names and order back, and ``original`` is the model as onnxruntime runs it.
"""
