package org.edgesr.photos

import org.edgesr.core.AppException

/** By the target of the artifact. `edgesr bundle` leaves out what no artifact of the app needs. */
private val RUNTIMES: Map<String, InferenceRuntime> = mapOf(
    "onnxruntime" to OnnxRuntime,
    "tflite" to LiteRt,
    "executorch" to ExecuTorch,
)

/** Throws AppException. */
fun runtimeOf(artifact: Artifact): InferenceRuntime {
    val target = artifact.manifest.target
    return RUNTIMES[target]
        ?: throw AppException(AppException.Kind.ARTIFACT, "This app cannot run $target artifacts. Make the bundle again.")
}
