"""``python -m tflite_converter``: the command line."""

from tflite_converter.cli.main import app

if __name__ == "__main__":
    app(prog_name="tflite-converter")
