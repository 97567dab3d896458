import CoreGraphics
import EdgeSRKit
import Foundation
import Observation
import UIKit

/// What the screen shows, and the work behind it. Everything long runs apart from the screen and can be stopped.
@MainActor @Observable
final class Work {
    enum State: Equatable { case empty, ready, running(done: Int, of: Int), benching(String), done }

    struct Facts: Equatable {
        let ms: Double
        let tileMs: Double
        let tiles: Int
        let ranOn: String
    }

    nonisolated static let benchRuns = 20
    nonisolated static let benchRepeats = 3
    /// Of a result's RGBA, at most a quarter of the memory.
    static let mostPixels = Int(ProcessInfo.processInfo.physicalMemory / 4 / 4 / 16)

    let artifacts: [Artifact]
    var chosen = 0
    var processor = Processor.all
    private(set) var state = State.empty
    private(set) var before: CGImage?
    private(set) var after: CGImage?
    private(set) var facts: Facts?
    private(set) var result: URL?
    private(set) var records: URL?
    var alert: String?
    var keepsExif = true
    private var opened: Opened?
    private var task: Task<Void, Never>?

    init() {
        do {
            artifacts = try Work.found()
        } catch {
            artifacts = []
            alert = error.localizedDescription
        }
    }

    private static func found() throws -> [Artifact] {
        guard let models = Bundle.main.url(forResource: "models", withExtension: nil) else {
            throw AppError(.artifact, "This app has no models. Make the bundle again.")
        }
        let folders = try FileManager.default.contentsOfDirectory(at: models, includingPropertiesForKeys: nil)
        return try folders.sorted { $0.path < $1.path }.map { try Artifact(folder: $0) }
    }

    var choosesProcessor: Bool {
        artifacts.indices.contains(chosen) && runtime(of: artifacts[chosen])?.choosesProcessor == true
    }

    var isBusy: Bool {
        switch state {
        case .running, .benching: true
        default: false
        }
    }

    func take(_ data: Data) {
        stop()
        do {
            let photo = try openPhoto(data, mostPixels: Work.mostPixels)
            opened = photo
            before = photo.image
            after = nil
            facts = nil
            state = .ready
        } catch {
            alert = error.localizedDescription
        }
    }

    func stop() {
        task?.cancel()
    }

    func enlarge() {
        guard let opened, artifacts.indices.contains(chosen), !isBusy else { return }
        let (artifact, processor, keeps) = (artifacts[chosen], processor, keepsExif)
        state = .running(done: 0, of: 1)
        task = Task.detached(priority: .userInitiated) {
            do {
                let plan = try planImage(height: opened.photo.height, width: opened.photo.width, manifest: artifact.manifest)
                let model = try openTiles(artifact, plan.tile, processor)
                var tiles: [Double] = []
                let began = DispatchTime.now().uptimeNanoseconds
                let large = try upscale(
                    opened.photo, plan, model: model, clock: { DispatchTime.now().uptimeNanoseconds }
                ) { done, all, tookNs in
                    try Task.checkCancellation()
                    tiles.append(Double(tookNs) / 1e6)
                    Task { @MainActor in self.progress(done, all) }
                }
                let ms = Double(DispatchTime.now().uptimeNanoseconds - began) / 1e6
                let image = try cgImage(of: large)
                let ranOn = "\(model.runtime), \(model.backend)"
                let comment = "\(artifact.manifest.slug), sha256 \(artifact.identity(sha256: sha256Hex)), \(ranOn)"
                let file = try writePNG(image, exif: keeps ? opened.exif : nil, comment: comment)
                let facts = Facts(ms: ms, tileMs: percentile(tiles, 0.5) ?? 0, tiles: tiles.count, ranOn: ranOn)
                await self.show(image, file, facts)
            } catch {
                await self.fail(error)
            }
        }
    }

    private func progress(_ done: Int, _ all: Int) {
        if case .running = state { state = .running(done: done, of: all) }
    }

    private func show(_ image: CGImage, _ file: URL, _ facts: Facts) {
        after = image
        result = file
        self.facts = facts
        state = .done
    }

    private func fail(_ error: Error) {
        if !(error is CancellationError) { alert = error.localizedDescription }
        state = after == nil ? .ready : .done
    }

    /// Pieces of the chosen photo, cold starts with one warm-up; writes the records of `edgesr bench`.
    func benchmark() {
        guard let opened, artifacts.indices.contains(chosen), !isBusy else { return }
        let (artifact, processor) = (artifacts[chosen], processor)
        let (device, system) = (UIDevice.current.model, "\(UIDevice.current.systemName) \(UIDevice.current.systemVersion)")
        state = .benching("Starting ...")
        task = Task.detached(priority: .userInitiated) {
            do {
                let plan = try planImage(height: opened.photo.height, width: opened.photo.width, manifest: artifact.manifest)
                let inputs = plan.boxes.prefix(8).map { tileInput(opened.photo, plan, $0, .colour) }
                var (repeats, runtime): ([Repeat], [String: String]) = ([], [:])
                for number in 1...Work.benchRepeats {
                    await self.tell("Start \(number) of \(Work.benchRepeats) ...")
                    let (one, ran) = try Work.timed(artifact, processor, inputs, plan.tile)
                    repeats.append(one)
                    runtime = ran
                }
                let pixels = inputs.reduce(into: Data()) { data, input in input.withUnsafeBytes { data.append(contentsOf: $0) } }
                let run = Run(
                    manifest: artifact.manifest, identity: artifact.identity(sha256: sha256Hex), size: plan.tile,
                    startedAt: Date(), edgesr: Bundle.main.infoDictionary?["CFBundleShortVersionString"] as? String ?? "unknown",
                    device: device, facts: ["system": system], inputsCount: inputs.count,
                    inputsSha256: sha256Hex(pixels), runtime: runtime, repeats: repeats)
                let file = FileManager.default.temporaryDirectory.appendingPathComponent("\(artifact.manifest.slug).jsonl")
                try run.jsonl().write(to: file, atomically: true, encoding: .utf8)
                await self.benched(file)
            } catch {
                await self.fail(error)
            }
        }
    }

    private nonisolated static func timed(
        _ artifact: Artifact, _ processor: Processor, _ inputs: [[Float]], _ size: Size
    ) throws -> (Repeat, [String: String]) {
        let now = { DispatchTime.now().uptimeNanoseconds }
        let start = now()
        let model = try openTiles(artifact, size, processor)
        let opened = now()
        _ = try model.predict(inputs[0], size: size)
        let first = now()
        _ = try model.predict(inputs[0], size: size)
        let begin = now()
        var raw: [UInt64] = []
        for index in 0..<benchRuns {
            try Task.checkCancellation()
            let before = now()
            _ = try model.predict(inputs[index % inputs.count], size: size)
            raw.append(now() - before)
        }
        let seconds = Double(now() - begin) / 1e9
        let ran = [
            "runtime": model.runtime, "precision": artifact.manifest.precision, "backend": model.backend,
            "threads": "the runtime's choice",
        ]
        let one = Repeat(
            loadNs: opened - start, firstNs: first - opened, warmupNs: [begin - first], rawNs: raw, atS: seconds)
        return (one, ran)
    }

    private func tell(_ text: String) {
        if case .benching = state { state = .benching(text) }
    }

    private func benched(_ file: URL) {
        records = file
        state = after == nil ? .ready : .done
    }
}
