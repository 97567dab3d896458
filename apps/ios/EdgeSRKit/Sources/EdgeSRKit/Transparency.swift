/// Colour for what is invisible, so that the network sees no edge where an object ends. The rounds are those of
/// edgesr/transparency.py.

private let reachPx = 32
/// Smallest alpha of a pixel whose colour counts.
private let hasColour: UInt8 = 8
/// (x, y) from a pixel: left, right, above, below, then the corners.
private let neighbours = [(-1, 0), (1, 0), (0, -1), (0, 1), (-1, -1), (1, -1), (-1, 1), (1, 1)]

/// `photo` with the colour of what is visible in the barely visible pixels beside it. In each of 32 rounds, every pixel
/// without colour takes that of the first of its neighbours that had one before the round.
public func colourCarriedOn(_ photo: Photo) -> Photo {
    let (width, height) = (photo.width, photo.height)
    var open = (0..<width * height).map { photo.rgba[4 * $0 + 3] < hasColour }
    func beside(_ pixel: Int, _ right: Int, _ down: Int) -> Int? {
        let (x, y) = (pixel % width + right, pixel / width + down)
        return x >= 0 && x < width && y >= 0 && y < height ? y * width + x : nil
    }
    var carried = photo
    var newest = open.indices.filter { pixel in
        !open[pixel] && neighbours.contains { step in beside(pixel, step.0, step.1).map { open[$0] } ?? false }
    }
    for _ in 0..<reachPx where !newest.isEmpty {
        var found: [Int] = []
        for step in neighbours {
            for from in newest {
                guard let to = beside(from, -step.0, -step.1), open[to] else { continue }
                open[to] = false
                for channel in 0..<3 { carried.rgba[4 * to + channel] = carried.rgba[4 * from + channel] }
                found.append(to)
            }
        }
        newest = found
    }
    return carried
}
