package org.edgesr.photos

import org.edgesr.core.AppException

/** By the target of the artifact. `edgesr bundle` leaves out what no artifact of the app needs. */
private val RUNTIMES: Map<String, InferenceRuntime> = mapOf(
    "onnxruntime" to OnnxRuntime,
    "tflite" to LiteRt,
    "executorch" to ExecuTorch,
)

/** For people; the target where the app has no runtime for it. */
fun titleOf(artifact: Artifact): String = RUNTIMES[artifact.manifest.target]?.title ?: artifact.manifest.target

/** Throws AppException. */
fun runtimeOf(artifact: Artifact): InferenceRuntime {
    val target = artifact.manifest.target
    return RUNTIMES[target]
        ?: throw AppException(AppException.Kind.ARTIFACT, "This app has no runtime for $target. Make the bundle again.")
}
