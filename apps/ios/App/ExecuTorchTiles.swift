#if canImport(ExecuTorch)
import EdgeSRKit
import ExecuTorch
import Foundation

/// An artifact in ExecuTorch. Its file is checked and copied, and only the copy is opened.
final class ExecuTorchTiles: TileModel {
    private let module: Module
    private let folder: URL

    init(_ artifact: Artifact) throws {
        folder = FileManager.default.temporaryDirectory.appendingPathComponent(UUID().uuidString)
        try artifact.copyChecked(to: folder, sha256: sha256Hex)
        module = Module(filePath: folder.appendingPathComponent(artifact.manifest.main).path)
        do {
            try module.load("forward")
        } catch {
            try? FileManager.default.removeItem(at: folder)
            throw AppError(.artifact, "ExecuTorch cannot open \(artifact.manifest.slug): \(error.localizedDescription)")
        }
    }

    deinit {
        try? FileManager.default.removeItem(at: folder)
    }

    func predict(_ tile: [Float], size: Size) throws -> [Float] {
        let input = Tensor<Float>(tile, shape: [1, 3, size.height, size.width])
        return try Tensor<Float>(module.forward(input)).scalars()
    }
}
#endif
