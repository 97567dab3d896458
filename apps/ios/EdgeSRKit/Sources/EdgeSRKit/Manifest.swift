import Foundation

/// Height and width in pixels of the low-resolution input.
public struct Size: Equatable, Hashable, Sendable {
    public let height: Int
    public let width: Int

    public init(height: Int, width: Int) {
        self.height = height
        self.width = width
    }
}

/// One file of an artifact, by its name relative to the artifact's folder.
public struct FileEntry: Equatable, Sendable {
    public let name: String
    public let sha256: String
    public let bytes: Int
}

/// The part of manifest.json that the app needs. Schema 1 of edgesr/artifact.py; nothing in it is trusted.
public struct Manifest: Equatable, Sendable {
    public static let schema = 1
    public static let largest = 100_000
    public static let targets = ["coreml", "executorch"]
    private static let filePerSize = "executorch"

    public let target: String
    public let slug: String
    public let model: String
    public let precision: String
    public let scale: Int
    public let main: String
    public let files: [FileEntry]
    public let inputName: String
    public let outputName: String
    public let haloPx: Int
    public let minSidePx: Int
    public let multiplePx: Int
    public let sizes: [Size]
    public let weightsKind: String
    public let weightsFile: String
    public let int8Share: Double?

    /// Throws AppError of kind artifact that names the field.
    public init(json: Data) throws {
        guard let top = try? JSONSerialization.jsonObject(with: json) as? [String: Any] else {
            throw Manifest.wrong("the file", "is no JSON object")
        }
        let reader = Reader(table: top, path: "")
        guard try reader.whole("schema", from: 0, to: 1000) == Manifest.schema else {
            throw Manifest.wrong("schema", "is not \(Manifest.schema)")
        }
        let request = try reader.inner("request")
        target = try request.word("target")
        guard Manifest.targets.contains(target) else {
            throw Manifest.wrong("request.target", "is none of \(Manifest.targets.joined(separator: ", ")), which iOS runs")
        }
        slug = try reader.word("slug")
        model = try request.word("model")
        precision = try request.word("precision")
        scale = try reader.whole("scale", from: 1, to: 8)
        main = try reader.word("main")
        files = try reader.list("files").map(Manifest.entry)
        inputName = try Manifest.tensor(reader, "inputs")
        outputName = try Manifest.tensor(reader, "outputs")
        haloPx = try reader.whole("halo_px", from: 0, to: Manifest.largest)
        minSidePx = try reader.whole("min_side_px", from: 1, to: Manifest.largest)
        multiplePx = try reader.whole("multiple_px", from: 1, to: Manifest.largest, otherwise: 1)
        sizes = try request.list("sizes").map(Manifest.size)
        let weights = try reader.inner("weights")
        weightsKind = try weights.word("kind")
        weightsFile = try weights.word("file")
        let share = (top["shares"] as? [String: Any])?["int8_macs"] as? Double
        int8Share = share.flatMap { (0...1).contains($0) ? $0 : nil }
        let package = main
        guard files.contains(where: { $0.name == package || $0.name.hasPrefix("\(package)/") }) else {
            throw Manifest.wrong("main", "is not among the files")
        }
        guard !sizes.isEmpty else { throw Manifest.wrong("request.sizes", "is empty; \(target) needs sizes") }
        if target == Manifest.filePerSize { for size in sizes { _ = try file(for: size) } }
    }

    /// The one file of an artifact that has one for each of its sizes.
    public func file(for size: Size) throws -> FileEntry {
        let name = sizes.count == 1 ? main : "model_\(size.height)x\(size.width).pte"
        guard let entry = files.first(where: { $0.name == name }) else { throw Manifest.wrong("files", "has no \(name)") }
        return entry
    }

    static func wrong(_ field: String, _ what: String) -> AppError {
        AppError(.artifact, "This model cannot be used: in its manifest.json, \(field) \(what). Make the bundle again.")
    }

    private static func entry(_ value: Any) throws -> FileEntry {
        guard let table = value as? [String: Any] else { throw wrong("files", "is not a list of objects") }
        let reader = Reader(table: table, path: "files.")
        let name = try reader.word("name")
        let parts = name.split(separator: "/", omittingEmptySubsequences: false)
        let isPlain = !parts.contains { ["", ".", ".."].contains($0) } && !name.contains { "\\:\0".contains($0) }
        guard isPlain else { throw wrong("files.name", "\(name.prefix(80)) is not a plain file name") }
        let sha256 = try reader.word("sha256").lowercased()
        guard sha256.count == 64, sha256.allSatisfy({ "0123456789abcdef".contains($0) }) else {
            throw wrong("files.sha256", "is not a SHA-256 in hexadecimal")
        }
        return FileEntry(name: name, sha256: sha256, bytes: try reader.whole("bytes", from: 0, to: 1 << 40))
    }

    /// The name of the one tensor, which must be float32 NCHW RGB in [0, 1].
    private static func tensor(_ reader: Reader, _ field: String) throws -> String {
        let specs = try reader.list(field)
        guard specs.count == 1, let table = specs[0] as? [String: Any] else { throw wrong(field, "must have one entry") }
        let spec = Reader(table: table, path: "\(field).")
        for (key, expected) in [("dtype", "float32"), ("layout", "NCHW"), ("colour", "RGB")] {
            guard try spec.word(key) == expected else { throw wrong("\(field).\(key)", "is not \(expected)") }
        }
        guard try spec.list("value_range").compactMap(exactInt) == [0, 1] else {
            throw wrong("\(field).value_range", "is not [0, 1]")
        }
        return try spec.word("name")
    }

    private static func size(_ value: Any) throws -> Size {
        let sides = (value as? [Any] ?? []).compactMap(exactInt)
        guard sides.count == 2, sides.allSatisfy({ (1...largest).contains($0) }) else {
            throw wrong("request.sizes", "must hold [height, width]")
        }
        return Size(height: sides[0], width: sides[1])
    }
}

/// A whole number of JSON, which may be written with a point.
private func exactInt(_ value: Any) -> Int? {
    if let whole = value as? Int { return whole }
    return (value as? Double).flatMap { Int(exactly: $0) }
}

/// Typed reading of a JSON object; `path` stands before the names in messages.
private struct Reader {
    let table: [String: Any]
    let path: String

    func word(_ key: String) throws -> String {
        guard let found = table[key] as? String, !found.isEmpty else { throw Manifest.wrong(path + key, "is not a text") }
        return found
    }

    func list(_ key: String) throws -> [Any] {
        guard let found = table[key] as? [Any] else { throw Manifest.wrong(path + key, "is not a list") }
        return found
    }

    func inner(_ key: String) throws -> Reader {
        guard let found = table[key] as? [String: Any] else { throw Manifest.wrong(path + key, "is not an object") }
        return Reader(table: found, path: "\(path)\(key).")
    }

    func whole(_ key: String, from least: Int, to most: Int, otherwise: Int? = nil) throws -> Int {
        if table[key] == nil, let otherwise { return otherwise }
        guard let found = table[key].flatMap(exactInt), (least...most).contains(found) else {
            throw Manifest.wrong(path + key, "must be a whole number from \(least) to \(most)")
        }
        return found
    }
}

/// An artifact's folder as it lies in the app.
public struct Artifact: Sendable {
    public let folder: URL
    public let manifest: Manifest

    public init(folder: URL) throws {
        self.folder = folder
        guard let json = try? Data(contentsOf: folder.appendingPathComponent("manifest.json")) else {
            throw AppError(.artifact, "A model in this app has no manifest.json. Make the bundle again.")
        }
        manifest = try Manifest(json: json)
    }

    /// Copies every file to `target` once its size and hash are right, so that what is opened is what was checked.
    ///
    /// `sha256` gives lower-case hexadecimal: CryptoKit's on Apple's systems.
    public func copyChecked(to target: URL, sha256: (Data) -> String) throws {
        for entry in manifest.files { try copyChecked(entry, to: target, sha256: sha256) }
    }

    /// The same for one file; where its copy is.
    @discardableResult
    public func copyChecked(_ entry: FileEntry, to target: URL, sha256: (Data) -> String) throws -> URL {
        guard let content = try? Data(contentsOf: folder.appendingPathComponent(entry.name)) else {
            throw AppError(.artifact, "\(entry.name) of \(manifest.slug) is missing. Make the bundle again.")
        }
        guard content.count == entry.bytes, sha256(content) == entry.sha256 else {
            throw AppError(.artifact, "\(entry.name) of \(manifest.slug) was changed. Make the bundle again.")
        }
        let place = target.appendingPathComponent(entry.name)
        try FileManager.default.createDirectory(
            at: place.deletingLastPathComponent(), withIntermediateDirectories: true)
        try content.write(to: place, options: .atomic)
        return place
    }

    /// Over names and hashes of the files, in the order of names: equal bytes are the same artifact anywhere.
    public func identity(sha256: (Data) -> String) -> String {
        let names = manifest.files.sorted { $0.name.utf8.lexicographicallyPrecedes($1.name.utf8) }
        return sha256(Data(names.map { "\($0.name)\0\($0.sha256)\n" }.joined().utf8))
    }
}
