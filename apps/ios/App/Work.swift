import CoreGraphics
import EdgeSRKit
import Foundation
import Observation
import UIKit

/// What the screen shows, and the work behind it. Everything long runs apart from the screen and can be stopped.
@MainActor @Observable
final class Work {
    enum State: Equatable { case empty, reading, ready, running(done: Int, of: Int), benching(String), done }

    struct Facts: Equatable {
        let ms: Double
        let tileMs: Double
        let tiles: Int
        let ranOn: String
    }

    nonisolated static let benchRuns = 20
    nonisolated static let benchRepeats = 3

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
    /// Of what was begun last: what was begun before it shows nothing any longer.
    private var number = 0

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
        case .reading, .running, .benching: true
        default: false
        }
    }

    /// Of the largest result that a model here makes, RGBA may take a quarter of the memory.
    private var mostPixels: Int {
        let scale = artifacts.map(\.manifest.scale).max() ?? 1
        return Int(ProcessInfo.processInfo.physicalMemory) / 4 / 4 / (scale * scale)
    }

    /// Ends what runs, and gives the number of what begins.
    private func begin(_ beginning: State) -> Int {
        stop()
        number += 1
        state = beginning
        return number
    }

    func take(_ data: Data) {
        let (number, mostPixels) = (begin(.reading), mostPixels)
        task = Task.detached(priority: .userInitiated) {
            do {
                let photo = try openPhoto(data, mostPixels: mostPixels)
                await self.show(photo, number)
            } catch {
                await self.fail(error, number)
            }
        }
    }

    private func show(_ photo: Opened, _ number: Int) {
        guard number == self.number else { return }
        opened = photo
        before = photo.image
        after = nil
        facts = nil
        state = .ready
    }

    func stop() {
        task?.cancel()
    }

    func enlarge() {
        guard let opened, artifacts.indices.contains(chosen), !isBusy else { return }
        let (artifact, processor, keeps) = (artifacts[chosen], processor, keepsExif)
        let number = begin(.running(done: 0, of: 1))
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
                    Task { @MainActor in self.progress(done, all, number) }
                }
                let ms = Double(DispatchTime.now().uptimeNanoseconds - began) / 1e6
                let image = try cgImage(of: large)
                let ranOn = "\(model.runtime), \(model.backend)"
                let comment = "\(artifact.manifest.slug), sha256 \(artifact.identity(sha256: sha256Hex)), \(ranOn)"
                let file = try writePNG(image, exif: keeps ? opened.exif : nil, comment: comment)
                let facts = Facts(ms: ms, tileMs: percentile(tiles, 0.5) ?? 0, tiles: tiles.count, ranOn: ranOn)
                await self.show(image, file, facts, number)
            } catch {
                await self.fail(error, number)
            }
        }
    }

    private func progress(_ done: Int, _ all: Int, _ number: Int) {
        guard number == self.number, case .running = state else { return }
        state = .running(done: done, of: all)
    }

    private func show(_ image: CGImage, _ file: URL, _ facts: Facts, _ number: Int) {
        guard number == self.number else { return }
        after = image
        result = file
        self.facts = facts
        state = .done
    }

    private func fail(_ error: Error, _ number: Int) {
        guard number == self.number else { return }
        if !(error is CancellationError) { alert = error.localizedDescription }
        state = before == nil ? .empty : after == nil ? .ready : .done
    }

    /// Pieces of the chosen photo, cold starts with one warm-up; writes the records of `edgesr bench`.
    func benchmark() {
        guard let opened, artifacts.indices.contains(chosen), !isBusy else { return }
        let (artifact, processor) = (artifacts[chosen], processor)
        let (device, system) = (UIDevice.current.model, "\(UIDevice.current.systemName) \(UIDevice.current.systemVersion)")
        let number = begin(.benching("Starting ..."))
        task = Task.detached(priority: .userInitiated) {
            do {
                let plan = try planImage(height: opened.photo.height, width: opened.photo.width, manifest: artifact.manifest)
                let inputs = plan.boxes.prefix(8).map { tileInput(opened.photo, plan, $0, .colour) }
                var (repeats, runtime): ([Repeat], [String: String]) = ([], [:])
                for start in 1...Work.benchRepeats {
                    await self.tell("Start \(start) of \(Work.benchRepeats) ...", number)
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
                await self.benched(file, number)
            } catch {
                await self.fail(error, number)
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

    private func tell(_ text: String, _ number: Int) {
        guard number == self.number, case .benching = state else { return }
        state = .benching(text)
    }

    private func benched(_ file: URL, _ number: Int) {
        guard number == self.number else { return }
        records = file
        state = after == nil ? .ready : .done
    }
}
