"""The models that `write_sources.py` writes, small ones of many kinds.

Imported by interpreters as old as Python 3.6 with TensorFlow 2.3, hence the plain syntax: no annotations of
newer kinds, and no call that came later than 2.3 without a look at whether it is there.
"""

import numpy as np
import tensorflow as tf

layers = tf.keras.layers
IS_KERAS_3 = hasattr(tf.keras, "ops")

_generator = np.random.RandomState(7)


def normal(samples, *shape):
    return _generator.normal(size=(samples, *shape)).astype(np.float32)


def tokens(samples, *shape):
    return _generator.randint(1, 20, size=(samples, *shape)).astype(np.int32)


def mlp(samples):
    features = tf.keras.Input((12,), name="features")
    x = layers.Dense(24, activation="relu")(features)
    x = layers.Dropout(0.2)(x)
    x = layers.Dense(16, activation="tanh", kernel_regularizer=tf.keras.regularizers.l2(1e-4))(x)
    x = layers.Dense(4, activation="softmax", name="classes")(x)
    return tf.keras.Model(features, x), {"features": normal(samples, 12)}


def deferred(samples):
    """A Sequential that learns its input's shape from the first batch, as many tutorials write it."""
    model = tf.keras.Sequential([layers.Dense(16, activation="relu"), layers.Dense(3)])
    inputs = {"data": normal(samples, 12)}
    model(inputs["data"])
    return model, inputs


def cnn(samples):
    image = tf.keras.Input((8, 8, 1), name="image")
    x = layers.Conv2D(8, 3, padding="same", use_bias=False)(image)
    x = layers.BatchNormalization()(x)
    x = layers.ReLU(6.0)(x)
    x = layers.DepthwiseConv2D(3, strides=2, padding="same")(x)
    x = layers.BatchNormalization(scale=False)(x)
    x = layers.Activation("relu")(x)
    x = layers.SeparableConv2D(12, 3)(x)
    x = layers.GlobalAveragePooling2D()(x)
    return tf.keras.Model(image, layers.Dense(4, activation="softmax")(x)), {
        "image": normal(samples, 8, 8, 1)
    }


def encoder_decoder(samples):
    image = tf.keras.Input((8, 8, 2), name="image")
    down = layers.Conv2D(6, 3, strides=2, padding="same")(image)
    x = layers.LeakyReLU()(down)
    x = layers.MaxPooling2D()(x)
    x = layers.UpSampling2D(interpolation="bilinear")(x)
    x = layers.Concatenate()([x, down])
    x = layers.Conv2DTranspose(4, 3, strides=2, padding="same", activation="elu")(x)
    x = layers.PReLU(shared_axes=[1, 2])(x)
    x = layers.Cropping2D(1)(layers.ZeroPadding2D(1)(x))
    return tf.keras.Model(image, layers.Conv2D(2, 1)(x)), {"image": normal(samples, 8, 8, 2)}


def nested(samples):
    """A model in a model, the form that transfer learning takes."""
    base, _ = cnn(1)
    base = tf.keras.Model(base.inputs, base.layers[-2].output, name="backbone")
    photo = tf.keras.Input((8, 8, 1), name="photo")
    x = base(layers.Rescaling(2.0)(photo) if hasattr(layers, "Rescaling") else photo)
    return tf.keras.Model(photo, layers.Dense(3)(x)), {"photo": normal(samples, 8, 8, 1)}


def two_inputs(samples):
    left, right = tf.keras.Input((6,), name="left"), tf.keras.Input((3,), name="right")
    joined = layers.Concatenate()([layers.Dense(8, activation="relu")(left), right])
    outputs = [layers.Dense(2, name="score")(joined), layers.Dense(5, name="vector")(joined)]
    inputs = {"left": normal(samples, 6), "right": normal(samples, 3)}
    return tf.keras.Model([left, right], outputs), inputs


def _sequence(samples, *steps):
    entry = tf.keras.Input((10, 4), name="steps")
    x = entry
    for step in steps:
        x = step(x)
    return tf.keras.Model(entry, layers.Dense(3)(x)), {"steps": normal(samples, 10, 4)}


def lstm(samples):
    return _sequence(samples, layers.LSTM(8, return_sequences=True), layers.LSTM(6))


def gru(samples):
    return _sequence(samples, layers.GRU(8))


def bidirectional(samples):
    return _sequence(samples, layers.Bidirectional(layers.LSTM(6)))


def simple_rnn(samples):
    return _sequence(samples, layers.RNN(layers.SimpleRNNCell(6)))


def conv_lstm(samples):
    film = tf.keras.Input((4, 6, 6, 1), name="film")
    x = layers.ConvLSTM2D(3, 3, padding="same")(film)
    x = layers.Flatten()(x)
    return tf.keras.Model(film, layers.Dense(3)(x)), {"film": normal(samples, 4, 6, 6, 1)}


def time_distributed(samples):
    film = tf.keras.Input((5, 6, 6, 1), name="film")
    x = layers.TimeDistributed(layers.Conv2D(4, 3, activation="relu"))(film)
    x = layers.TimeDistributed(layers.Flatten())(x)
    x = layers.GlobalAveragePooling1D()(x)
    return tf.keras.Model(film, layers.Dense(3)(x)), {"film": normal(samples, 5, 6, 6, 1)}


def embedding(samples):
    entry = tf.keras.Input((6,), dtype="int32", name="tokens")
    x = layers.Embedding(20, 8)(entry)
    x = layers.Conv1D(8, 3, padding="causal", activation="relu")(x)
    x = layers.GlobalAveragePooling1D()(x)
    return tf.keras.Model(entry, layers.Dense(3, activation="softmax")(x)), {"tokens": tokens(samples, 6)}


def masked(samples):
    """Padding is masked out of the recurrent layer."""
    entry = tf.keras.Input((6,), dtype="int32", name="tokens")
    x = layers.LSTM(6)(layers.Embedding(20, 8, mask_zero=True)(entry))
    values = tokens(samples, 6)
    values[:, 4:] = 0
    return tf.keras.Model(entry, layers.Dense(3)(x)), {"tokens": values}


def normalization(samples):
    old = getattr(layers, "experimental", None)
    kind = layers.Normalization if hasattr(layers, "Normalization") else old.preprocessing.Normalization
    values = 3.0 + 2.0 * normal(samples, 7)
    layer = kind()
    layer.adapt(values)
    entry = tf.keras.Input((7,), name="readings")
    x = layers.Dense(8, activation="sigmoid")(layer(entry))
    return tf.keras.Model(entry, layers.Dense(1)(x)), {"readings": values}


def attention(samples):
    entry = tf.keras.Input((6, 8), name="steps")
    if hasattr(layers, "MultiHeadAttention"):
        x = layers.MultiHeadAttention(num_heads=2, key_dim=4)(entry, entry)
    else:
        x = layers.Attention()([entry, entry])
    x = layers.LayerNormalization()(layers.Add()([x, entry]))
    x = layers.Dense(8, activation="relu")(x)
    x = layers.GlobalAveragePooling1D()(x)
    return tf.keras.Model(entry, layers.Dense(3)(x)), {"steps": normal(samples, 6, 8)}


def open_steps(samples):
    audio = tf.keras.Input((None, 2), name="audio")
    x = layers.Conv1D(4, 3, padding="same", activation="relu")(audio)
    x = layers.GlobalAveragePooling1D()(x)
    return tf.keras.Model(audio, layers.Dense(3)(x)), {"audio": normal(samples, 20, 2)}


def open_lstm(samples):
    entry = tf.keras.Input((None, 4), name="steps")
    return tf.keras.Model(entry, layers.Dense(2)(layers.LSTM(5)(entry))), {"steps": normal(samples, 10, 4)}


def operators(samples):
    """Arithmetic between layers: Keras makes layers of TensorFlow's functions of its own accord."""
    entry = tf.keras.Input((5,), name="values")
    x = layers.Dense(6)(entry)
    x = x * 2.0 - 1.0
    x = layers.Dense(3)(x)
    return tf.keras.Model(entry, x / 4.0), {"values": normal(samples, 5)}


def mixed_precision(samples):
    """Trained in float16 with float32 variables."""
    policy = tf.keras.mixed_precision
    policy.set_global_policy("mixed_float16")
    try:
        entry = tf.keras.Input((8, 8, 1), name="image")
        x = layers.Conv2D(6, 3, activation="relu")(entry)
        x = layers.BatchNormalization()(x)
        x = layers.Dense(3)(layers.Flatten()(x))
        model = tf.keras.Model(entry, layers.Activation("softmax", dtype="float32")(x))
    finally:
        policy.set_global_policy("float32")
    return model, {"image": normal(samples, 8, 8, 1)}


class Swell(layers.Layer):
    """A layer of the user's own."""

    def call(self, inputs):
        return inputs * 2.0 + 1.0


def custom_layer(samples):
    entry = tf.keras.Input((5,), name="values")
    x = Swell(name="swelling")(layers.Dense(4)(entry))
    return tf.keras.Model(entry, layers.Dense(2)(x)), {"values": normal(samples, 5)}


def custom_activation(samples):
    """A function of the user's own where Keras has names."""

    def wobble(x):
        return x * tf.sigmoid(x)

    entry = tf.keras.Input((5,), name="values")
    x = layers.Dense(4, activation=wobble, name="wobbling")(entry)
    return tf.keras.Model(entry, layers.Dense(2)(x)), {"values": normal(samples, 5)}


def lambda_layer(samples):
    entry = tf.keras.Input((5,), name="values")
    x = layers.Lambda(lambda x: x * 3.0, name="tripling")(layers.Dense(4)(entry))
    return tf.keras.Model(entry, layers.Dense(2)(x)), {"values": normal(samples, 5)}


def _matrices(samples):
    return normal(samples, 3, 3) + 4.0 * np.eye(3, dtype=np.float32)


def inverse(samples):
    """An operation that TFLite lacks, as a layer that Keras itself makes of it."""
    entry = tf.keras.Input((3, 3), name="matrix")
    x = tf.keras.ops.linalg.inv(entry) if IS_KERAS_3 else tf.linalg.inv(entry)
    return tf.keras.Model(entry, layers.Dense(2, name="after")(layers.Flatten()(x))), {
        "matrix": _matrices(samples)
    }


class Inverse(layers.Layer):
    """The same in a layer of the user's own."""

    def call(self, inputs):
        return tf.linalg.inv(inputs)


def inverse_layer(samples):
    entry = tf.keras.Input((3, 3), name="matrix")
    x = layers.Flatten()(Inverse(name="inverting")(entry))
    return tf.keras.Model(entry, layers.Dense(2)(x)), {"matrix": _matrices(samples)}


class Subclassed(tf.keras.Model):
    """Layers in a class, whose graph is known only by calling it."""

    def __init__(self):
        super().__init__()
        self.first = layers.Dense(8, activation="relu")
        self.norm = layers.BatchNormalization()
        self.last = layers.Dense(3)

    def call(self, inputs, training=False):
        return self.last(self.norm(self.first(inputs), training=training))


def subclassed(samples):
    model, inputs = Subclassed(), {"values": normal(samples, 6)}
    model(inputs["values"])
    return model, inputs


def text(samples):
    """Strings in: nothing that a TFLite file could take."""
    entry = tf.keras.Input((1,), dtype="string", name="words")
    lookup = layers.StringLookup(vocabulary=["up", "down", "left"])
    x = layers.Flatten()(layers.Embedding(5, 4)(lookup(entry)))
    words = np.array([["up"], ["down"]] * (samples // 2), dtype=object)
    return tf.keras.Model(entry, layers.Dense(2)(x)), {"words": words}
