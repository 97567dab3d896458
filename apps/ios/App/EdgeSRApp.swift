import SwiftUI

@main
struct EdgeSRApp: App {
    @State private var work = Work()

    var body: some Scene {
        WindowGroup { ContentView(work: work) }
    }
}
