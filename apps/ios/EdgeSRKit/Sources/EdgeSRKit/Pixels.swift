/// 8-bit RGBA to and from what a network takes and gives, one tile at a time. The arithmetic is that of edgesr/images.py:
/// the network sees colours that were carried on into what is invisible; grey photos stay grey; results are clipped to
/// 0...1 and a half is rounded up.

/// An upright photo: straight (not premultiplied) 8-bit RGBA, row by row from the top.
public struct Photo: Sendable {
    public let width: Int
    public let height: Int
    public var rgba: [UInt8]
    /// Stored as grey: its enlargement is made grey, too.
    public let isGrey: Bool

    public init(width: Int, height: Int, rgba: [UInt8], isGrey: Bool) {
        precondition(rgba.count == 4 * width * height)
        self.width = width
        self.height = height
        self.rgba = rgba
        self.isGrey = isGrey
    }

    /// Any pixel that is not opaque.
    public var hasAlpha: Bool {
        stride(from: 3, to: rgba.count, by: 4).contains { rgba[$0] != 255 }
    }

    /// Mean of the colours, in 0...1.
    var mean: Double {
        var sum = 0
        for at in stride(from: 0, to: rgba.count, by: 4) {
            sum += Int(rgba[at]) + Int(rgba[at + 1]) + Int(rgba[at + 2])
        }
        return Double(sum) / Double(3 * 255 * max(width * height, 1))
    }

    /// Mean of alpha, in 0...1.
    var alphaMean: Double {
        let sum = stride(from: 3, to: rgba.count, by: 4).reduce(0) { $0 + Int(rgba[$1]) }
        return Double(sum) / Double(255 * max(width * height, 1))
    }
}

/// Which image of the photo goes through the network.
public enum Source: Sendable { case colour, alpha }

private let visible: Float = 0.5 / 255

/// Float32 (1, 3, tile height, tile width), RGB in 0...1.
public func tileInput(_ photo: Photo, _ plan: TilePlan, _ box: Box, _ source: Source) -> [Float] {
    let area = plan.tile.height * plan.tile.width
    var unit = [Float](repeating: 0, count: 3 * area)
    let columns = (0..<plan.tile.width).map { 4 * reflected(box.left + $0, photo.width) }
    for y in 0..<plan.tile.height {
        let row = 4 * photo.width * reflected(box.top + y, photo.height)
        for x in 0..<plan.tile.width {
            let from = row + columns[x]
            let to = y * plan.tile.width + x
            for channel in 0..<3 {
                let level = photo.rgba[source == .alpha ? from + 3 : from + channel]
                unit[to + channel * area] = Float(level) / 255
            }
        }
    }
    return unit
}

/// Watches what must never be shown: NaN, infinity, or black from what is not. Colour and alpha have one each: if one is
/// bright, that must not hide that the other is black.
public struct OutputCheck {
    private let sourceMean: Double
    private var brightest: Float = 0

    public init(sourceMean: Double) { self.sourceMean = sourceMean }

    public mutating func tile(_ numbers: [Float]) throws {
        for number in numbers {
            guard number.isFinite else {
                throw AppError(
                    .output,
                    "The network returned NaN or infinity: this model does not work on this device's processor. "
                        + "Choose another processor or precision.")
            }
            brightest = max(brightest, number)
        }
    }

    public func end() throws {
        guard brightest < visible, sourceMean > 2 / 255 else { return }
        throw AppError(
            .output,
            "The network returned a black image although the photo is not: this model does not work on this device's "
                + "processor. Choose another processor or precision.")
    }
}

/// Writes the core of one tile into `result`, RGBA of `scale` times the photo.
///
/// `photo`: as it was given; what ends with an alpha of 0 in 8 bits keeps its colour.
/// `colour`, `alpha`: the network's answers, (1, 3, scale * tile height, scale * tile width); `alpha` nil if opaque.
public func paste(
    _ photo: Photo, _ plan: TilePlan, _ box: Box, colour: [Float], alpha: [Float]?, into result: inout [UInt8]
) {
    let scale = plan.scale
    let tileWidth = plan.tile.width * scale
    let area = plan.tile.height * scale * tileWidth
    for y in box.coreTop * scale..<box.coreBottom * scale {
        for x in box.coreLeft * scale..<box.coreRight * scale {
            let at = (y - box.top * scale) * tileWidth + x - box.left * scale
            var rgb = (clipped(colour[at]), clipped(colour[at + area]), clipped(colour[at + 2 * area]))
            var opacity: Float = 1
            if let alpha {
                opacity = (clipped(alpha[at]) + clipped(alpha[at + area]) + clipped(alpha[at + 2 * area])) / 3
                if opacity < visible { rgb = straight(photo.rgba, 4 * (y / scale * photo.width + x / scale)) }
            }
            if photo.isGrey {
                let mean = (rgb.0 + rgb.1 + rgb.2) / 3
                rgb = (mean, mean, mean)
            }
            let to = 4 * (y * plan.width * scale + x)
            result[to] = level(rgb.0)
            result[to + 1] = level(rgb.1)
            result[to + 2] = level(rgb.2)
            result[to + 3] = level(opacity)
        }
    }
}

private func clipped(_ number: Float) -> Float { min(max(number, 0), 1) }

private func straight(_ rgba: [UInt8], _ at: Int) -> (Float, Float, Float) {
    (Float(rgba[at]) / 255, Float(rgba[at + 1]) / 255, Float(rgba[at + 2]) / 255)
}

private func level(_ unit: Float) -> UInt8 { UInt8((unit * 255 + 0.5).rounded(.down)) }
