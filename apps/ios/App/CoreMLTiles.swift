import CoreML
import CryptoKit
import EdgeSRKit
import Foundation

/// Which processors Core ML may use. It does not tell which it did use.
enum Processor: String, CaseIterable, Identifiable {
    case all = "Automatic"
    case neuralEngine = "Neural Engine"
    case gpu = "GPU"
    case cpu = "CPU"

    var id: String { rawValue }

    var units: MLComputeUnits {
        switch self {
        case .all: .all
        case .neuralEngine: .cpuAndNeuralEngine
        case .gpu: .cpuAndGPU
        case .cpu: .cpuOnly
        }
    }
}

func sha256Hex(_ data: Data) -> String {
    SHA256.hash(data: data).map { String(format: "%02x", $0) }.joined()
}

let coreML = InferenceRuntime(title: "Core ML", choosesProcessor: true) { artifact, _, processor in
    try CoreMLTiles(artifact, processor: processor)
}

/// An artifact in Core ML. Its files are checked, copied, and only the copy is compiled and opened.
final class CoreMLTiles: Tiles {
    let runtime = "Core ML, \(ProcessInfo.processInfo.operatingSystemVersionString)"
    let backend: String
    private let model: MLModel
    private let artifact: Artifact

    init(_ artifact: Artifact, processor: Processor) throws {
        self.artifact = artifact
        backend = "allowed: \(processor.rawValue); it does not say which it used"
        let configuration = MLModelConfiguration()
        configuration.computeUnits = processor.units
        do {
            model = try MLModel(contentsOf: CoreMLTiles.compiled(artifact), configuration: configuration)
        } catch let error as AppError {
            throw error
        } catch {
            throw AppError(.artifact, "Core ML cannot open \(artifact.manifest.slug): \(error.localizedDescription)")
        }
    }

    /// The compiled model, kept in the app's caches under the artifact's hash.
    private static func compiled(_ artifact: Artifact) throws -> URL {
        let files = FileManager.default
        let caches = try files.url(for: .cachesDirectory, in: .userDomainMask, appropriateFor: nil, create: true)
        let place = caches.appendingPathComponent("\(artifact.identity(sha256: sha256Hex)).mlmodelc")
        if files.fileExists(atPath: place.path) { return place }
        let work = files.temporaryDirectory.appendingPathComponent(UUID().uuidString)
        defer { try? files.removeItem(at: work) }
        try artifact.copyChecked(to: work, sha256: sha256Hex)
        let made = try MLModel.compileModel(at: work.appendingPathComponent(artifact.manifest.main))
        try files.moveItem(at: made, to: place)
        return place
    }

    func predict(_ tile: [Float], size: Size) throws -> [Float] {
        let manifest = artifact.manifest
        let input = MLShapedArray<Float>(scalars: tile, shape: [1, 3, size.height, size.width])
        let given = try MLDictionaryFeatureProvider(
            dictionary: [manifest.inputName: MLFeatureValue(shapedArray: input)])
        let made = try model.prediction(from: given)
        guard let array = made.featureValue(for: manifest.outputName)?.multiArrayValue else {
            throw AppError(.artifact, "\(manifest.slug) gave no \(manifest.outputName). Make the bundle again.")
        }
        return MLShapedArray<Float>(converting: array).scalars
    }
}
