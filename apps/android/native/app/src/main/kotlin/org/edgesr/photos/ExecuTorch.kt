package org.edgesr.photos

import java.io.File
import org.edgesr.core.AppException
import org.edgesr.core.Size
import org.pytorch.executorch.EValue
import org.pytorch.executorch.Module
import org.pytorch.executorch.Tensor

object ExecuTorch : InferenceRuntime {
    /** What runs what was fixed when the artifact was made. */
    override val engines = listOf("as the file says: XNNPACK on the CPU")

    override fun open(artifact: Artifact, engine: String, threads: Int, cache: File): Tiles {
        val file = File(cache, "${artifact.identity}.pte")
        file.writeBytes(artifact.checkedMain())
        try {
            val module = Module.load(file.path, Module.LOAD_MODE_FILE, threads)
            val code = module.loadMethod("forward")
            if (code != 0) {
                module.destroy()
                throw refused(artifact, "error $code of loadMethod")
            }
            return ExecuTorchTiles(module)
        } catch (error: RuntimeException) {
            throw refused(artifact, error.message)
        }
    }

    private fun refused(artifact: Artifact, why: String?) =
        AppException(AppException.Kind.ARTIFACT, "ExecuTorch cannot open ${artifact.manifest.slug}: $why")
}

private class ExecuTorchTiles(private val module: Module) : Tiles {
    override val runtime = "ExecuTorch"

    override fun predict(tile: FloatArray, size: Size): FloatArray =
        try {
            val shape = longArrayOf(1, 3, size.height.toLong(), size.width.toLong())
            module.forward(EValue.from(Tensor.fromBlob(tile, shape)))[0].toTensor().dataAsFloatArray
        } catch (error: RuntimeException) {
            throw AppException(AppException.Kind.OUTPUT, "The network did not run: ${error.message}")
        }

    override fun close() = module.destroy()
}
