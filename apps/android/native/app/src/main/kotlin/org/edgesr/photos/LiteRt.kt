package org.edgesr.photos

import java.io.File
import java.nio.ByteBuffer
import java.nio.ByteOrder
import org.edgesr.core.AppException
import org.edgesr.core.ChannelsLast
import org.edgesr.core.Size
import org.edgesr.core.TileModel
import org.tensorflow.lite.Interpreter
import org.tensorflow.lite.TensorFlowLite

object LiteRt : InferenceRuntime {
    private const val XNNPACK = "CPU (XNNPACK)"
    private const val PLAIN = "CPU (without XNNPACK)"

    override val title = "LiteRT"

    override val engines = listOf(XNNPACK, PLAIN)

    override fun open(artifact: Artifact, size: Size, engine: String, threads: Int, cache: File): Tiles {
        val content = artifact.checked(size)
        val model = direct(content.size)
        model.put(content).rewind()
        // Not chained: what these return differs between versions of the library.
        val options = Interpreter.Options().apply {
            setNumThreads(threads)
            setUseXNNPACK(engine == XNNPACK)
        }
        return try {
            LiteRtTiles(artifact.manifest.scale, Interpreter(model, options), "asked: $engine")
        } catch (error: RuntimeException) {
            val text = "LiteRT cannot open ${artifact.manifest.slug}: ${error.message}"
            throw AppException(AppException.Kind.ARTIFACT, text)
        }
    }
}

private class LiteRtTiles(scale: Int, private val interpreter: Interpreter, override val backend: String) : Tiles {
    private val channelsFirst = ChannelsLast(TileModel { tile, _ -> computed(tile) }, scale)

    override val runtime: String = "LiteRT ${TensorFlowLite.runtimeVersion()}"

    override fun predict(tile: FloatArray, size: Size): FloatArray = channelsFirst.predict(tile, size)

    private fun computed(tile: FloatArray): FloatArray =
        try {
            val input = direct(4 * tile.size)
            input.asFloatBuffer().put(tile)
            val output = direct(interpreter.getOutputTensor(0).numBytes())
            interpreter.run(input, output)
            output.rewind()
            FloatArray(output.capacity() / 4).also { output.asFloatBuffer().get(it) }
        } catch (error: RuntimeException) {
            throw AppException(AppException.Kind.OUTPUT, "The network did not run: ${error.message}")
        }

    override fun close() = interpreter.close()
}

private fun direct(bytes: Int): ByteBuffer = ByteBuffer.allocateDirect(bytes).order(ByteOrder.nativeOrder())
