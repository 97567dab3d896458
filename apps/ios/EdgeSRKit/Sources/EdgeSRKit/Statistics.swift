import Foundation

/// The `share` (0...1) percentile by linear interpolation, as numpy's default. nil for no sample.
public func percentile(_ values: [Double], _ share: Double) -> Double? {
    guard !values.isEmpty else { return nil }
    let sorted = values.sorted()
    let place = share * Double(sorted.count - 1)
    let low = Int(place)
    let above = sorted[min(low + 1, sorted.count - 1)]
    return sorted[low] + (above - sorted[low]) * (place - Double(low))
}

/// 12 ms, 1.24 s, 2 min 5 s.
public func duration(ms: Double) -> String {
    if ms < 10 { return String(format: "%.1f ms", ms) }
    if ms < 1000 { return "\(Int(ms.rounded())) ms" }
    if ms < 60_000 { return String(format: "%.2f s", ms / 1000) }
    let seconds = Int((ms / 1000).rounded())
    return "\(seconds / 60) min \(seconds % 60) s"
}
