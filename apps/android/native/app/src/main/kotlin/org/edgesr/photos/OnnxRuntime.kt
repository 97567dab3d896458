package org.edgesr.photos

import ai.onnxruntime.OnnxTensor
import ai.onnxruntime.OrtEnvironment
import ai.onnxruntime.OrtException
import ai.onnxruntime.OrtSession
import java.io.File
import java.nio.FloatBuffer
import org.edgesr.core.AppException
import org.edgesr.core.Size

object OnnxRuntime : InferenceRuntime {
    private const val XNNPACK = "XNNPACK, the rest on the CPU"
    private const val NNAPI = "NNAPI, the rest on the CPU"

    override val title = "ONNX Runtime"

    override val engines = listOf("CPU", XNNPACK, NNAPI)

    override fun open(artifact: Artifact, size: Size, engine: String, threads: Int, cache: File): Tiles =
        try {
            OrtSession.SessionOptions().use { options ->
                options.setIntraOpNumThreads(threads)
                when (engine) {
                    XNNPACK -> options.addXnnpack(mapOf("intra_op_num_threads" to threads.toString()))
                    NNAPI -> options.addNnapi()
                }
                OnnxTiles(artifact, artifact.checked(size), OrtEnvironment.getEnvironment(), options, "asked: $engine")
            }
        } catch (error: OrtException) {
            val text = "ONNX Runtime cannot open ${artifact.manifest.slug}: ${error.message}"
            throw AppException(AppException.Kind.ARTIFACT, text)
        }
}

private class OnnxTiles(
    private val artifact: Artifact,
    content: ByteArray,
    private val environment: OrtEnvironment,
    options: OrtSession.SessionOptions,
    override val backend: String,
) : Tiles {
    private val session: OrtSession = environment.createSession(content, options)

    override val runtime = "onnxruntime ${environment.version}"

    override fun predict(tile: FloatArray, size: Size): FloatArray =
        try {
            val shape = longArrayOf(1, 3, size.height.toLong(), size.width.toLong())
            OnnxTensor.createTensor(environment, FloatBuffer.wrap(tile), shape).use { input ->
                session.run(mapOf(artifact.manifest.inputName to input)).use { made ->
                    val output = made.get(artifact.manifest.outputName).get() as OnnxTensor
                    FloatArray(output.info.shape.fold(1L) { product, side -> product * side }.toInt())
                        .also { output.floatBuffer.get(it) }
                }
            }
        } catch (error: OrtException) {
            throw AppException(AppException.Kind.OUTPUT, "The network did not run: ${error.message}")
        }

    override fun close() = session.close()
}
