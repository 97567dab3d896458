import Foundation
import XCTest

@testable import EdgeSRKit

/// Cases that the Python code made (tests/ios_cases.py writes cases.json).
final class EdgeSRKitTests: XCTestCase {
    private struct Cases: Decodable {
        struct Tiling: Decodable {
            let height, width, haloPx, minSidePx, multiplePx, scale: Int
            let tile: [Int]
            let boxes: [[Int]]?
        }
        struct Pixels: Decodable {
            let name: String
            let width, height, haloPx: Int
            let tile: [Int]
            let isGrey: Bool
            let rgba, expected: [UInt8]
        }
        struct Percentile: Decodable {
            let values: [Double]
            let share, expected: Double
        }
        struct Wrong: Decodable {
            let field, manifest: String
        }
        let tiling: [Tiling]
        let pixels: [Pixels]
        let percentiles: [Percentile]
        let manifest, filePerSize: String
        let wrong: [Wrong]
    }

    private func cases() throws -> Cases {
        let file = try XCTUnwrap(Bundle.module.url(forResource: "cases", withExtension: "json"))
        return try JSONDecoder().decode(Cases.self, from: Data(contentsOf: file))
    }

    func testPlansAreThoseOfThePythonCode() throws {
        let tiling = try cases().tiling
        XCTAssertGreaterThan(tiling.count, 20)
        for one in tiling {
            let rule = SideRule(haloPx: one.haloPx, minSidePx: one.minSidePx, multiplePx: one.multiplePx)
            let tile = Size(height: one.tile[0], width: one.tile[1])
            let plan = try? planTiles(height: one.height, width: one.width, rule: rule, scale: one.scale, tile: tile)
            let boxes = plan?.boxes.map { [$0.top, $0.left, $0.coreTop, $0.coreLeft, $0.coreBottom, $0.coreRight] }
            XCTAssertEqual(boxes, one.boxes, "\(one)")
        }
    }

    /// The network of the cases: every value's square, each pixel `scale` times in both directions.
    private struct Squares: TileModel {
        let scale: Int

        func predict(_ tile: [Float], size: Size) -> [Float] {
            let width = size.width * scale
            var out = [Float](repeating: 0, count: tile.count * scale * scale)
            for channel in 0..<3 {
                for y in 0..<size.height * scale {
                    for x in 0..<width {
                        let value = tile[(channel * size.height + y / scale) * size.width + x / scale]
                        out[(channel * size.height * scale + y) * width + x] = value * value
                    }
                }
            }
            return out
        }
    }

    func testPixelsAreThoseOfThePythonCode() throws {
        let pixels = try cases().pixels
        XCTAssertGreaterThan(pixels.count, 3)
        for one in pixels {
            let photo = Photo(width: one.width, height: one.height, rgba: one.rgba, isGrey: one.isGrey)
            let rule = SideRule(haloPx: one.haloPx, minSidePx: 1, multiplePx: 1)
            let tile = Size(height: one.tile[0], width: one.tile[1])
            let plan = try planTiles(height: one.height, width: one.width, rule: rule, scale: 2, tile: tile)
            var told: [Int] = []
            let large = try upscale(photo, plan, model: Squares(scale: 2), clock: { 0 }) { done, _, _ in told.append(done) }
            XCTAssertEqual(told, Array(1...plan.boxes.count))
            XCTAssertEqual(large.width, 2 * one.width)
            let off = zip(large.rgba, one.expected).map { abs(Int($0) - Int($1)) }.max()
            XCTAssertEqual(large.rgba.count, one.expected.count)
            XCTAssertLessThanOrEqual(off ?? 255, 1, one.name)
        }
    }

    func testWorkIsStoppedByThrowing() throws {
        struct Stopped: Error {}
        let photo = Photo(width: 20, height: 20, rgba: [UInt8](repeating: 200, count: 1600), isGrey: false)
        let rule = SideRule(haloPx: 1, minSidePx: 1, multiplePx: 1)
        let plan = try planTiles(height: 20, width: 20, rule: rule, scale: 2, tile: Size(height: 8, width: 8))
        var done = 0
        XCTAssertThrowsError(
            try upscale(photo, plan, model: Squares(scale: 2), clock: { 0 }) { count, _, _ in
                done = count
                if count == 2 { throw Stopped() }
            }
        ) { XCTAssertTrue($0 is Stopped) }
        XCTAssertEqual(done, 2)
    }

    private struct Constant: TileModel {
        let value: Float
        let count: Int

        func predict(_ tile: [Float], size: Size) -> [Float] { [Float](repeating: value, count: count) }
    }

    func testWhatMustNotBeShownIsRefused() throws {
        let photo = Photo(width: 4, height: 4, rgba: [UInt8](repeating: 255, count: 64), isGrey: false)
        let rule = SideRule(haloPx: 0, minSidePx: 1, multiplePx: 1)
        let plan = try planTiles(height: 4, width: 4, rule: rule, scale: 2, tile: Size(height: 4, width: 4))
        for (value, count, kind) in [(Float.nan, 192, AppError.Kind.output), (0, 192, .output), (0.5, 191, .artifact)] {
            let model = Constant(value: value, count: count)
            XCTAssertThrowsError(try upscale(photo, plan, model: model, clock: { 0 }) { _, _, _ in }) {
                XCTAssertEqual(($0 as? AppError)?.kind, kind)
            }
        }
    }

    /// Gives one value for colour and one for alpha, which are asked for in turn.
    private final class InTurn: TileModel {
        let colour, alpha: Float
        private var isAlpha = true

        init(colour: Float, alpha: Float) { (self.colour, self.alpha) = (colour, alpha) }

        func predict(_ tile: [Float], size: Size) -> [Float] {
            isAlpha.toggle()
            return [Float](repeating: isAlpha ? alpha : colour, count: 192)
        }
    }

    func testColourAndAlphaAreCheckedEach() throws {
        let photo = Photo(width: 4, height: 4, rgba: [UInt8](repeating: 128, count: 64), isGrey: false)
        let rule = SideRule(haloPx: 0, minSidePx: 1, multiplePx: 1)
        let plan = try planTiles(height: 4, width: 4, rule: rule, scale: 2, tile: Size(height: 4, width: 4))
        let wrong: [(Float, Float)] = [(0, 0.5), (0.5, 0), (.nan, 0.5), (0.5, .nan), (0.5, .infinity)]
        for (colour, alpha) in wrong {
            let model = InTurn(colour: colour, alpha: alpha)
            XCTAssertThrowsError(try upscale(photo, plan, model: model, clock: { 0 }) { _, _, _ in }, "\(colour) \(alpha)") {
                XCTAssertEqual(($0 as? AppError)?.kind, .output)
            }
        }
        XCTAssertNoThrow(try upscale(photo, plan, model: InTurn(colour: 0.5, alpha: 0.5), clock: { 0 }) { _, _, _ in })
    }

    func testTheManifestIsRead() throws {
        let manifest = try Manifest(json: Data(cases().manifest.utf8))
        XCTAssertEqual(manifest.scale, 4)
        XCTAssertEqual(manifest.sizes, [Size(height: 64, width: 64), Size(height: 96, width: 128)])
        XCTAssertEqual(manifest.main, "model.mlpackage")
        let plan = try planImage(height: 96, width: 128, manifest: manifest)
        XCTAssertEqual(plan.tile, Size(height: 96, width: 128))
    }

    func testEveryTileIsComputedByTheFileOfItsSize() throws {
        let several = try Manifest(json: Data(cases().filePerSize.utf8))
        XCTAssertEqual(several.target, "executorch")
        for size in several.sizes {
            XCTAssertEqual(try several.file(for: size).name, "model_\(size.height)x\(size.width).pte")
        }
        XCTAssertThrowsError(try several.file(for: Size(height: 5, width: 5)))
        let plan = try planImage(height: 96, width: 128, manifest: several)
        XCTAssertEqual(try several.file(for: plan.tile).name, "model_96x128.pte")
    }

    func testWhatIsWrongInAManifestIsNamed() throws {
        let wrong = try cases().wrong
        XCTAssertGreaterThan(wrong.count, 10)
        for one in wrong {
            XCTAssertThrowsError(try Manifest(json: Data(one.manifest.utf8)), one.field) {
                XCTAssertTrue((($0 as? AppError)?.text ?? "").contains(one.field), "\(one.field): \($0)")
            }
        }
    }

    func testPercentilesAreThoseOfNumpy() throws {
        for one in try cases().percentiles {
            XCTAssertEqual(try XCTUnwrap(percentile(one.values, one.share)), one.expected, accuracy: 1e-9)
        }
        XCTAssertNil(percentile([], 0.5))
        XCTAssertEqual(duration(ms: 9.96), "10.0 ms")
        XCTAssertEqual(duration(ms: 125_000), "2 min 5 s")
    }

    func testFilesAreCheckedBeforeTheyAreCopied() throws {
        let place = FileManager.default.temporaryDirectory.appendingPathComponent(UUID().uuidString)
        defer { try? FileManager.default.removeItem(at: place) }
        let folder = place.appendingPathComponent("artifact")
        try FileManager.default.createDirectory(at: folder.appendingPathComponent("model.mlpackage"), withIntermediateDirectories: true)
        try Data(cases().manifest.utf8).write(to: folder.appendingPathComponent("manifest.json"))
        try Data("weights".utf8).write(to: folder.appendingPathComponent("model.mlpackage/weights"))
        let artifact = try Artifact(folder: folder)
        let sum = artifact.manifest.files[0].sha256
        let target = place.appendingPathComponent("copy")
        try artifact.copyChecked(to: target) { _ in sum }
        XCTAssertEqual(try Data(contentsOf: target.appendingPathComponent("model.mlpackage/weights")), Data("weights".utf8))
        XCTAssertThrowsError(try artifact.copyChecked(to: target) { _ in "other" })
        XCTAssertEqual(artifact.identity { String(decoding: $0, as: UTF8.self) }, "model.mlpackage/weights\0\(sum)\n")
    }

    /// Written for the Python side to read, where it says to which folder.
    func testRecords() throws {
        for json in [try cases().manifest, try cases().filePerSize] {
            try writeRecords(Manifest(json: Data(json.utf8)))
        }
    }

    private func writeRecords(_ manifest: Manifest) throws {
        let one = Repeat(loadNs: 5, firstNs: 4, warmupNs: [3], rawNs: [1, 2], atS: 0.5)
        let run = Run(
            manifest: manifest, identity: String(repeating: "0", count: 64), size: Size(height: 64, width: 64),
            startedAt: Date(timeIntervalSince1970: 1_700_000_000), edgesr: "0.1.0", device: "a phone",
            facts: ["system": "iOS"], inputsCount: 2, inputsSha256: String(repeating: "1", count: 64),
            runtime: ["runtime": "Core ML", "precision": "int8", "threads": "Core ML's choice"], repeats: [one, one])
        let lines = try run.jsonl()
        XCTAssertEqual(lines.split(separator: "\n").count, 8)
        if let folder = ProcessInfo.processInfo.environment["EDGESR_RECORDS"] {
            try Data(lines.utf8).write(to: URL(fileURLWithPath: "\(folder)/\(manifest.target).jsonl"))
        }
    }
}
