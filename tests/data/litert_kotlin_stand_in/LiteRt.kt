// A stand-in: see README.md.
package com.google.ai.edge.litert

import android.content.AssetManager

enum class Accelerator { CPU, GPU }

class TensorBuffer : AutoCloseable {
    private var values: Any? = null

    internal fun take(other: TensorBuffer) {
        values = other.values
    }

    fun writeFloat(data: FloatArray) = keep(data)
    fun writeInt8(data: ByteArray) = keep(data)
    fun writeInt(data: IntArray) = keep(data)
    fun writeBoolean(data: BooleanArray) = keep(data)
    fun readFloat() = values as FloatArray
    fun readInt8() = values as ByteArray
    fun readInt() = values as IntArray
    fun readBoolean() = values as BooleanArray
    override fun close() = Unit

    private fun keep(data: Any) {
        values = data
    }
}

class CompiledModel : AutoCloseable {
    class Options(vararg val accelerators: Accelerator)

    fun createInputBuffer(inputName: String, signature: String? = null) = TensorBuffer()
    fun createOutputBuffer(outputName: String, signature: String? = null) = TensorBuffer()

    fun run(inputs: Map<String, TensorBuffer>, outputs: Map<String, TensorBuffer>, signature: String? = null) {
        outputs.values.forEach { it.take(inputs.values.first()) }
    }

    override fun close() = Unit

    companion object {
        fun create(assetManager: AssetManager, assetName: String, options: Options) = CompiledModel()
    }
}
