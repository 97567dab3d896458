package org.edgesr.photos

import java.io.File
import org.edgesr.core.AppException
import org.edgesr.core.Size
import org.pytorch.executorch.EValue
import org.pytorch.executorch.Module
import org.pytorch.executorch.Tensor

private const val METHOD = "forward"

object ExecuTorch : InferenceRuntime {
    override val title = "ExecuTorch"

    /** What computes was fixed when the artifact was made. */
    override val engines = listOf("as the file says")

    override fun open(artifact: Artifact, size: Size, engine: String, threads: Int, cache: File): Tiles {
        val file = File(cache, "tile.pte")
        file.writeBytes(artifact.checked(size))
        try {
            return opened(file, threads)
        } catch (error: RuntimeException) {
            val text = "ExecuTorch cannot open ${artifact.manifest.slug}: ${error.message}"
            throw AppException(AppException.Kind.ARTIFACT, text)
        } finally {
            file.delete()
        }
    }

    private fun opened(file: File, threads: Int): Tiles {
        // Once it is open, it is read through its descriptor: the file itself may go.
        val module = Module.load(file.path, Module.LOAD_MODE_FILE, threads)
        try {
            module.loadMethod(METHOD)
            return ExecuTorchTiles(module)
        } catch (error: RuntimeException) {
            module.destroy()
            throw error
        }
    }
}

private class ExecuTorchTiles(private val module: Module) : Tiles {
    override val runtime = "ExecuTorch"

    override val backend: String = words(module.getMethodMetadata(METHOD).backends)

    private fun words(backends: Array<String>): String =
        if (backends.isEmpty()) "its own kernels on the CPU" else "${backends.joinToString()}, the rest on the CPU"

    override fun predict(tile: FloatArray, size: Size): FloatArray =
        try {
            val shape = longArrayOf(1, 3, size.height.toLong(), size.width.toLong())
            module.forward(EValue.from(Tensor.fromBlob(tile, shape)))[0].toTensor().dataAsFloatArray
        } catch (error: RuntimeException) {
            throw AppException(AppException.Kind.OUTPUT, "The network did not run: ${error.message}")
        }

    override fun close() = module.destroy()
}
