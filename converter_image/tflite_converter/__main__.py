"""``python -m tflite_converter``: the command line."""

from .cli import app

if __name__ == "__main__":
    app(prog_name="tflite-converter")
