import Foundation

/// One cold start and what was timed after it.
public struct Repeat: Sendable {
    public let loadNs: UInt64
    public let firstNs: UInt64
    public let warmupNs: [UInt64]
    public let rawNs: [UInt64]
    /// Seconds from the first timed inference to the end of the last.
    public let atS: Double

    public init(loadNs: UInt64, firstNs: UInt64, warmupNs: [UInt64], rawNs: [UInt64], atS: Double) {
        self.loadNs = loadNs
        self.firstNs = firstNs
        self.warmupNs = warmupNs
        self.rawNs = rawNs
        self.atS = atS
    }
}

/// A measurement as edgesr/bench/records.py defines it (schema 1). The photo's name is not in it.
public struct Run: Sendable {
    public let manifest: Manifest
    public let identity: String
    public let size: Size
    public let startedAt: Date
    public let edgesr: String
    public let device: String
    public let facts: [String: String]
    public let inputsCount: Int
    public let inputsSha256: String
    /// What really ran, as far as the system says: `runtime`, `precision`, `threads`.
    public let runtime: [String: String]
    public let repeats: [Repeat]

    public init(
        manifest: Manifest, identity: String, size: Size, startedAt: Date, edgesr: String, device: String,
        facts: [String: String], inputsCount: Int, inputsSha256: String, runtime: [String: String], repeats: [Repeat]
    ) {
        self.manifest = manifest
        self.identity = identity
        self.size = size
        self.startedAt = startedAt
        self.edgesr = edgesr
        self.device = device
        self.facts = facts
        self.inputsCount = inputsCount
        self.inputsSha256 = inputsSha256
        self.runtime = runtime
        self.repeats = repeats
    }

    /// JSON Lines: a start, then opened, samples and closed of every repeat, then an end.
    public func jsonl() throws -> String {
        let stamp = ISO8601DateFormatter().string(from: startedAt)
        var lines: [[String: Any]] = [start(stamp)]
        for (index, one) in repeats.enumerated() {
            lines.append([
                "repeat": index, "load_ns": one.loadNs, "first_ns": one.firstNs, "warmup_ns": one.warmupNs,
                "runtime": runtime, "kind": "opened",
            ])
            lines.append(["repeat": index, "raw_ns": one.rawNs, "at_s": one.atS, "kind": "samples"])
            lines.append(["repeat": index, "reason": "enough", "kind": "closed"])
        }
        lines.append(["kind": "end"])
        return try lines.map { line in
            let json = try JSONSerialization.data(withJSONObject: line, options: [.sortedKeys, .withoutEscapingSlashes])
            return String(decoding: json, as: UTF8.self) + "\n"
        }.joined()
    }

    private func start(_ stamp: String) -> [String: Any] {
        var subject: [String: Any] = [
            "sha256": identity, "name": manifest.slug, "target": manifest.target, "precision": manifest.precision,
            "scale": manifest.scale, "size": [size.height, size.width], "bytes": manifest.files.map(\.bytes).reduce(0, +),
            "model": manifest.model, "weights": manifest.weightsKind, "halo_px": manifest.haloPx, "fixed_size": true,
        ]
        if let share = manifest.int8Share { subject["int8_share"] = share }
        return [
            "run": "ios-\(manifest.slug)-\(stamp.filter { $0 != ":" && $0 != "-" })",
            "started_at": stamp,
            "edgesr": edgesr,
            "subject": subject,
            "regime": ["profile": "ios", "threads": NSNull(), "cpus": NSNull()] as [String: Any],
            "where": ["name": device, "address": "app", "kind": "device", "facts": facts] as [String: Any],
            "inputs": ["count": inputsCount, "source": "a photo", "sha256": inputsSha256] as [String: Any],
            "schema": 1,
            "kind": "start",
        ]
    }
}
