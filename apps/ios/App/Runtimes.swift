import EdgeSRKit

/// An artifact that is open for tiles of one size.
protocol Tiles: TileModel {
    /// Name and version of the runtime, as far as it tells.
    var runtime: String { get }
    /// What computes, as far as the runtime tells; else what it was allowed.
    var backend: String { get }
}

/// A runtime of the artifacts in this app.
struct InferenceRuntime: Sendable {
    let title: String
    let choosesProcessor: Bool
    let open: @Sendable (Artifact, Size, Processor) throws -> any Tiles
}

/// By the target of the artifact. `edgesr bundle` leaves out what no artifact of the app needs.
private let runtimes: [String: InferenceRuntime] = [
    "coreml": coreML,
    "executorch": execuTorch,
]

func runtime(of artifact: Artifact) -> InferenceRuntime? {
    runtimes[artifact.manifest.target]
}

func openTiles(_ artifact: Artifact, _ size: Size, _ processor: Processor) throws -> any Tiles {
    guard let found = runtime(of: artifact) else {
        throw AppError(.artifact, "This app has no runtime for \(artifact.manifest.target). Make the bundle again.")
    }
    return try found.open(artifact, size, processor)
}
