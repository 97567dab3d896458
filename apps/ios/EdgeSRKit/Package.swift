// swift-tools-version:5.9
import PackageDescription

let package = Package(
    name: "EdgeSRKit",
    platforms: [.iOS(.v17), .macOS(.v14)],
    products: [.library(name: "EdgeSRKit", targets: ["EdgeSRKit"])],
    targets: [
        .target(name: "EdgeSRKit"),
        .testTarget(name: "EdgeSRKitTests", dependencies: ["EdgeSRKit"], resources: [.copy("cases.json")]),
    ]
)
