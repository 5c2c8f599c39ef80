"""Converts a Keras or TensorFlow model to TFLite: ``tflite-converter convert`` as a script."""

from tflite_converter.cli.main import convert_app

if __name__ == "__main__":
    convert_app(prog_name="convert_to_tflite.py")
