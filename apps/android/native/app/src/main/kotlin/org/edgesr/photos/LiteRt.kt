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
    override val engines = listOf("CPU (XNNPACK)")

    override fun open(artifact: Artifact, engine: String, threads: Int, cache: File): Tiles {
        val content = artifact.checkedMain()
        val model = ByteBuffer.allocateDirect(content.size).order(ByteOrder.nativeOrder())
        model.put(content).rewind()
        val options = Interpreter.Options().setNumThreads(threads).setUseXNNPACK(true)
        return try {
            LiteRtTiles(artifact.manifest.scale, Interpreter(model, options))
        } catch (error: IllegalArgumentException) {
            throw AppException(AppException.Kind.ARTIFACT, "LiteRT cannot open ${artifact.manifest.slug}: ${error.message}")
        }
    }
}

private class LiteRtTiles(scale: Int, private val interpreter: Interpreter) : Tiles {
    private val channelsFirst = ChannelsLast(TileModel { tile, _ -> computed(tile) }, scale)

    override val runtime: String = "LiteRT ${TensorFlowLite.runtimeVersion()}"

    override fun predict(tile: FloatArray, size: Size): FloatArray = channelsFirst.predict(tile, size)

    private fun computed(tile: FloatArray): FloatArray {
        val input = direct(4 * tile.size)
        input.asFloatBuffer().put(tile)
        val output = direct(interpreter.getOutputTensor(0).numBytes())
        try {
            interpreter.run(input, output)
        } catch (error: IllegalArgumentException) {
            throw AppException(AppException.Kind.OUTPUT, "The network did not run: ${error.message}")
        }
        output.rewind()
        return FloatArray(output.capacity() / 4).also { output.asFloatBuffer().get(it) }
    }

    private fun direct(bytes: Int): ByteBuffer = ByteBuffer.allocateDirect(bytes).order(ByteOrder.nativeOrder())

    override fun close() = interpreter.close()
}
