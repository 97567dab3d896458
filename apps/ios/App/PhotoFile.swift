import CoreGraphics
import EdgeSRKit
import Foundation
import ImageIO
import UniformTypeIdentifiers

/// A photo as it came from its file: upright sRGB pixels, and the EXIF to give back.
struct Opened {
    let photo: Photo
    let image: CGImage
    let exif: [CFString: Any]
}

/// Decodes in 8 bits sRGB, upright. Throws AppError.
func openPhoto(_ data: Data, mostPixels: Int) throws -> Opened {
    guard let source = CGImageSourceCreateWithData(data as CFData, nil),
        let facts = CGImageSourceCopyPropertiesAtIndex(source, 0, nil) as? [CFString: Any],
        let width = facts[kCGImagePropertyPixelWidth] as? Int, let height = facts[kCGImagePropertyPixelHeight] as? Int
    else { throw AppError(.photo, "This is no photo, or a damaged one. Choose another.") }
    guard width * height <= mostPixels else {
        let most = Double(mostPixels) / 1e6
        let text = String(format: "%.1f megapixels; %.1f fit this device", Double(width * height) / 1e6, most)
        throw AppError(.memory, "The photo has \(text). Choose a smaller one.")
    }
    let options: [CFString: Any] = [
        kCGImageSourceCreateThumbnailFromImageAlways: true, kCGImageSourceCreateThumbnailWithTransform: true,
        kCGImageSourceThumbnailMaxPixelSize: max(width, height), kCGImageSourceShouldCacheImmediately: true,
    ]
    guard let upright = CGImageSourceCreateThumbnailAtIndex(source, 0, options as CFDictionary) else {
        throw AppError(.photo, "The photo is damaged or cut short. Choose another.")
    }
    let isGrey = facts[kCGImagePropertyColorModel] as? String == kCGImagePropertyColorModelGray as String
    let rgba = try pixels(of: upright)
    let photo = Photo(width: upright.width, height: upright.height, rgba: rgba, isGrey: isGrey)
    var kept: [CFString: Any] = [:]
    for key in [kCGImagePropertyExifDictionary, kCGImagePropertyGPSDictionary, kCGImagePropertyTIFFDictionary] {
        kept[key] = facts[key]
    }
    return Opened(photo: photo, image: upright, exif: kept)
}

/// Straight RGBA. Core Graphics draws multiplied by alpha in 8 bits: where alpha is low, colour is that much coarser.
private func pixels(of image: CGImage) throws -> [UInt8] {
    var rgba = [UInt8](repeating: 0, count: 4 * image.width * image.height)
    let isDrawn = rgba.withUnsafeMutableBytes { bytes in
        guard let space = CGColorSpace(name: CGColorSpace.sRGB),
            let context = CGContext(
                data: bytes.baseAddress, width: image.width, height: image.height, bitsPerComponent: 8,
                bytesPerRow: 4 * image.width, space: space, bitmapInfo: CGImageAlphaInfo.premultipliedLast.rawValue)
        else { return false }
        context.draw(image, in: CGRect(x: 0, y: 0, width: image.width, height: image.height))
        return true
    }
    guard isDrawn else { throw AppError(.memory, "There is too little memory for this photo. Choose a smaller one.") }
    for at in stride(from: 0, to: rgba.count, by: 4) where rgba[at + 3] != 255 && rgba[at + 3] != 0 {
        let alpha = Int(rgba[at + 3])
        for channel in at..<at + 3 { rgba[channel] = UInt8(min(255, (Int(rgba[channel]) * 255 + alpha / 2) / alpha)) }
    }
    return rgba
}

func cgImage(of photo: Photo) throws -> CGImage {
    guard let space = CGColorSpace(name: CGColorSpace.sRGB), let provider = CGDataProvider(data: Data(photo.rgba) as CFData),
        let image = CGImage(
            width: photo.width, height: photo.height, bitsPerComponent: 8, bitsPerPixel: 32,
            bytesPerRow: 4 * photo.width, space: space,
            bitmapInfo: CGBitmapInfo(rawValue: CGImageAlphaInfo.last.rawValue), provider: provider, decode: nil,
            shouldInterpolate: false, intent: .defaultIntent)
    else { throw AppError(.memory, "There is too little memory to show the result.") }
    return image
}

/// A PNG in a folder of its own, with what made it and, if wanted, the photo's EXIF, upright.
func writePNG(_ image: CGImage, exif: [CFString: Any]?, comment: String) throws -> URL {
    let folder = FileManager.default.temporaryDirectory.appendingPathComponent("results")
    try? FileManager.default.removeItem(at: folder)
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    let file = folder.appendingPathComponent("photo.png")
    guard let to = CGImageDestinationCreateWithURL(file as CFURL, UTType.png.identifier as CFString, 1, nil) else {
        throw AppError(.save, "The result cannot be written. Is there room on the device?")
    }
    var facts = exif ?? [:]
    facts[kCGImagePropertyOrientation] = 1
    if var tiff = facts[kCGImagePropertyTIFFDictionary] as? [CFString: Any] {
        tiff[kCGImagePropertyTIFFOrientation] = 1
        facts[kCGImagePropertyTIFFDictionary] = tiff
    }
    facts[kCGImagePropertyPNGDictionary] = [kCGImagePropertyPNGSoftware: "edgesr", kCGImagePropertyPNGComment: comment]
    CGImageDestinationAddImage(to, image, facts as CFDictionary)
    guard CGImageDestinationFinalize(to) else {
        throw AppError(.save, "The result cannot be written. Is there room on the device?")
    }
    return file
}
