import EdgeSRKit
import ExecuTorch
import Foundation

let execuTorch = InferenceRuntime(title: "ExecuTorch", choosesProcessor: false) { artifact, size, _ in
    try ExecuTorchTiles(artifact, size)
}

/// The file of one size in ExecuTorch. It is checked and copied, and only the copy is opened.
final class ExecuTorchTiles: Tiles {
    let runtime = "ExecuTorch"
    let backend: String
    private let module: Module
    private let folder: URL
    private static let method = "forward"

    init(_ artifact: Artifact, _ size: Size) throws {
        let slug = artifact.manifest.slug
        let entry = try artifact.manifest.file(for: size)
        let folder = FileManager.default.temporaryDirectory.appendingPathComponent(UUID().uuidString)
        do {
            let module = Module(filePath: try artifact.copyChecked(entry, to: folder, sha256: sha256Hex).path)
            try module.load(ExecuTorchTiles.method)
            let names = try module.methodMetadata(ExecuTorchTiles.method).backendNames
            backend = ExecuTorchTiles.words(names)
            self.module = module
            self.folder = folder
        } catch {
            try? FileManager.default.removeItem(at: folder)
            if error is AppError { throw error }
            throw AppError(.artifact, "ExecuTorch cannot open \(slug): \(error.localizedDescription)")
        }
    }

    deinit {
        try? FileManager.default.removeItem(at: folder)
    }

    private static func words(_ backends: [String]) -> String {
        backends.isEmpty
            ? "its own kernels on the CPU" : "\(backends.joined(separator: ", ")), the rest on the CPU"
    }

    func predict(_ tile: [Float], size: Size) throws -> [Float] {
        let input = Tensor<Float>(tile, shape: [1, 3, size.height, size.width])
        do {
            let output: Tensor<Float> = try module.forward(input)
            return output.scalars()
        } catch {
            throw AppError(.output, "The network did not run: \(error.localizedDescription)")
        }
    }
}
