import EdgeSRKit

/// ExecuTorch is in the app if `edgesr bundle` was given an artifact for it.
private let executorch = "executorch"

/// Opens an artifact in its runtime; `processor` is for Core ML alone.
func openTiles(_ artifact: Artifact, processor: Processor) throws -> any TileModel {
    if artifact.manifest.target != executorch { return try CoreMLTiles(artifact, processor: processor) }
    #if canImport(ExecuTorch)
    return try ExecuTorchTiles(artifact)
    #else
    throw AppError(.artifact, "This app has no ExecuTorch for \(artifact.manifest.slug). Make the bundle again.")
    #endif
}

func runtimeName(_ artifact: Artifact) -> String {
    artifact.manifest.target == executorch ? "ExecuTorch" : "Core ML"
}

/// What computes, as far as that is known.
func backendWords(_ artifact: Artifact, processor: Processor) -> String {
    artifact.manifest.target == executorch ? "as the file says: XNNPACK on the CPU" : "allowed: \(processor.rawValue)"
}

func ranOn(_ artifact: Artifact) -> String {
    artifact.manifest.target == executorch
        ? "ExecuTorch, XNNPACK on the CPU" : "Core ML; it does not say which of the allowed processors"
}
