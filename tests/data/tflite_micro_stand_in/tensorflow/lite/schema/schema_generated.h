// A stand-in: see README.md.
#pragma once

namespace tflite {
struct Model {};
inline const Model* GetModel(const void* bytes) { return static_cast<const Model*>(bytes); }
}  // namespace tflite
