/// What computes a tile. A protocol because Core ML is on Apple's systems only, and tests need another.
public protocol TileModel {
    /// Float32 (1, 3, height, width) to (1, 3, scale * height, scale * width).
    func predict(_ tile: [Float], size: Size) throws -> [Float]
}

/// A whole photo through `model`, tile by tile.
///
/// `onTile` is told the tiles that are done, all of them, and the nanoseconds of the last; it stops the work by throwing.
public func upscale(
    _ photo: Photo, _ plan: TilePlan, model: TileModel, clock: () -> UInt64, onTile: (Int, Int, UInt64) throws -> Void
) throws -> Photo {
    let scale = plan.scale
    let expected = 3 * plan.tile.height * plan.tile.width * scale * scale
    var result = [UInt8](repeating: 0, count: 4 * plan.width * plan.height * scale * scale)
    let hasAlpha = photo.hasAlpha
    let seen = hasAlpha ? colourCarriedOn(photo) : photo
    var (colourCheck, alphaCheck) = (OutputCheck(sourceMean: seen.mean), OutputCheck(sourceMean: seen.alphaMean))
    for (index, box) in plan.boxes.enumerated() {
        let began = clock()
        let colour = try model.predict(tileInput(seen, plan, box, .colour), size: plan.tile)
        let alpha = hasAlpha ? try model.predict(tileInput(seen, plan, box, .alpha), size: plan.tile) : nil
        let took = clock() - began
        for answer in [colour, alpha].compactMap({ $0 }) where answer.count != expected {
            throw AppError(.artifact, "The model gave \(answer.count) numbers, not \(expected). Make the bundle again.")
        }
        try colourCheck.tile(colour)
        if let alpha { try alphaCheck.tile(alpha) }
        paste(photo, plan, box, colour: colour, alpha: alpha, into: &result)
        try onTile(index + 1, plan.boxes.count, took)
    }
    try colourCheck.end()
    if hasAlpha { try alphaCheck.end() }
    return Photo(width: plan.width * scale, height: plan.height * scale, rgba: result, isGrey: photo.isGrey)
}
