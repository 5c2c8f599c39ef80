"""Trains the 46-feature, 5-gesture sample model and writes it to models/, its data to datasets/."""

from gesture_sample.training import app

if __name__ == "__main__":
    app(prog_name="train_gesture_model.py")
