/// The cutting of an image into tiles: the same plan, number for number, as edgesr/tiling.py.
///
/// A tile's input is its core plus a halo of real image around it. Every tile has the same size and starts at a multiple
/// of `multiplePx`; tiles at the border shift inward instead of being padded; the starts are spread evenly.

/// Where a tile's input starts in the padded image, and the core (end exclusive) that it answers for.
public struct Box: Equatable, Sendable {
    public let top, left, coreTop, coreLeft, coreBottom, coreRight: Int
}

public struct TilePlan: Equatable, Sendable {
    public let height, width, scale: Int
    public let tile: Size
    public let boxes: [Box]

    /// Computed pixels per needed pixel; 1 is perfect.
    public var waste: Double {
        Double(boxes.count * tile.height * tile.width) / Double(height * width)
    }
}

/// What a network asks of a side.
public struct SideRule: Sendable {
    public let haloPx, minSidePx, multiplePx: Int

    public init(haloPx: Int, minSidePx: Int, multiplePx: Int) {
        self.haloPx = haloPx
        self.minSidePx = minSidePx
        self.multiplePx = multiplePx
    }

    func up(_ px: Int) -> Int { (px + multiplePx - 1) / multiplePx * multiplePx }

    func padded(_ side: Int) -> Int { up(max(side, minSidePx)) }

    /// Tiles of length `tile` whose cores partition 0 to `side`.
    func spans(_ side: Int, _ tile: Int) throws -> [Span] {
        guard tile >= minSidePx, tile % multiplePx == 0 else {
            throw AppError(
                .artifact, "A tile side of \(tile) px does not suit the network: \(minSidePx) px or more, in steps of \(multiplePx).")
        }
        let length = padded(side)
        if tile >= length { return [Span(start: 0, coreStart: 0, coreEnd: side)] }
        let stride = (tile - 2 * haloPx) / multiplePx
        guard tile >= 2 * haloPx, stride >= 1 else {
            throw AppError(.artifact, "A tile side of \(tile) px leaves nothing between two halos of \(haloPx) px.")
        }
        let last = (length - tile) / multiplePx
        let count = (last + stride - 1) / stride
        let starts = (0...count).map { $0 * last / count * multiplePx }
        return starts.enumerated().map { index, start in
            let coreStart = index == 0 ? 0 : (starts[index - 1] + tile + start) / 2
            let coreEnd = index == starts.count - 1 ? side : (start + tile + starts[index + 1]) / 2
            return Span(start: start, coreStart: coreStart, coreEnd: coreEnd)
        }
    }
}

struct Span: Equatable {
    let start, coreStart, coreEnd: Int
}

/// `tile` is the exact size of every tile. Throws AppError when it does not suit the network.
public func planTiles(height: Int, width: Int, rule: SideRule, scale: Int, tile: Size) throws -> TilePlan {
    guard min(height, width) >= 1 else { throw AppError(.photo, "An image of \(width)x\(height) has no pixels.") }
    let rows = try rule.spans(height, tile.height)
    let columns = try rule.spans(width, tile.width)
    let boxes = rows.flatMap { row in
        columns.map { column in
            Box(
                top: row.start, left: column.start, coreTop: row.coreStart, coreLeft: column.coreStart,
                coreBottom: row.coreEnd, coreRight: column.coreEnd)
        }
    }
    return TilePlan(height: height, width: width, scale: scale, tile: tile, boxes: boxes)
}

/// Of the artifact's sizes, the one that computes the fewest pixels.
public func planImage(height: Int, width: Int, manifest: Manifest) throws -> TilePlan {
    let rule = SideRule(haloPx: manifest.haloPx, minSidePx: manifest.minSidePx, multiplePx: manifest.multiplePx)
    let plans = try manifest.sizes.map { size in
        try planTiles(height: height, width: width, rule: rule, scale: manifest.scale, tile: size)
    }
    guard var best = plans.first else { throw AppError(.artifact, "This model has no size. Make the bundle again.") }
    for plan in plans.dropFirst() where plan.waste < best.waste { best = plan }
    return best
}

/// numpy's "reflect" on the right and bottom: which source pixel stands at `index` of a side of `length`.
public func reflected(_ index: Int, _ length: Int) -> Int {
    if index < length { return index }
    if length == 1 { return 0 }
    let period = 2 * (length - 1)
    let place = index % period
    return place < length ? place : period - place
}
