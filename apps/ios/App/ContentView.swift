import EdgeSRKit
import PhotosUI
import SwiftUI

struct ContentView: View {
    @Bindable var work: Work
    @State private var picked: PhotosPickerItem?

    var body: some View {
        NavigationStack {
            ScrollView {
                VStack(spacing: 16) {
                    stage
                    controls
                    if let facts = work.facts { results(facts) }
                    benchmark
                    about
                }
                .padding()
            }
            .navigationTitle("edgesr")
            .navigationBarTitleDisplayMode(.inline)
        }
        .onChange(of: picked) { _, item in
            guard let item else { return }
            Task {
                let data = try? await item.loadTransferable(type: Data.self)
                guard item == picked else { return }  // another was picked while this one was loaded
                if let data {
                    work.take(data)
                } else {
                    work.alert = "The photo cannot be read. Choose another."
                }
            }
        }
        .alert("edgesr", isPresented: isTelling) {
            Button("OK") {}
        } message: {
            Text(work.alert ?? "")
        }
    }

    private var isTelling: Binding<Bool> {
        Binding(get: { work.alert != nil }, set: { if !$0 { work.alert = nil } })
    }

    @ViewBuilder private var stage: some View {
        if let before = work.before {
            Comparison(before: before, after: work.after)
        } else {
            ContentUnavailableView(
                "Choose a photo to enlarge", systemImage: "photo",
                description: Text("It stays on this device: nothing is sent anywhere."))
        }
        PhotosPicker(selection: $picked, matching: .images) {
            Label(work.before == nil ? "Choose a photo" : "Other photo", systemImage: "photo.on.rectangle")
                .frame(maxWidth: .infinity)
        }
        .buttonStyle(.bordered)
        .disabled(work.isBusy)
    }

    @ViewBuilder private var controls: some View {
        Picker("Model", selection: $work.chosen) {
            ForEach(work.artifacts.indices, id: \.self) { index in
                Text(label(work.artifacts[index])).tag(index)
            }
        }
        .disabled(work.isBusy)
        Picker("Processor", selection: $work.processor) {
            ForEach(Processor.allCases) { Text($0.rawValue).tag($0) }
        }
        .pickerStyle(.segmented)
        .disabled(work.isBusy || !work.choosesProcessor)
        Toggle("Keep the photo's data (EXIF: date, camera, perhaps place)", isOn: $work.keepsExif)
        if case .running(let done, let all) = work.state {
            ProgressView(value: Double(done), total: Double(max(all, 1))) { Text("\(done) of \(all) tiles") }
            Button("Cancel", role: .cancel) { work.stop() }
        } else if work.state == .reading {
            ProgressView("Reading the photo ...")
        } else {
            Button { work.enlarge() } label: { Text("Enlarge").frame(maxWidth: .infinity) }
                .buttonStyle(.borderedProminent)
                .controlSize(.large)
                .disabled(work.before == nil || work.isBusy || work.artifacts.isEmpty)
        }
    }

    /// One network may be here in one precision for two runtimes.
    private func label(_ artifact: Artifact) -> String {
        let manifest = artifact.manifest
        let title = runtime(of: artifact)?.title ?? manifest.target
        return "\(manifest.model) ×\(manifest.scale) \(manifest.precision), \(title)"
    }

    private func results(_ facts: Work.Facts) -> some View {
        GroupBox("Result") {
            LabeledContent("Time", value: duration(ms: facts.ms))
            LabeledContent("Tiles", value: "\(facts.tiles), \(duration(ms: facts.tileMs)) each (median)")
            LabeledContent("Ran on", value: facts.ranOn)
            if let after = work.after { LabeledContent("Size", value: "\(after.width)×\(after.height)") }
            if let file = work.result { ShareLink("Save or share", item: file).buttonStyle(.bordered) }
        }
    }

    private var benchmark: some View {
        DisclosureGroup("Benchmark") {
            if case .benching(let text) = work.state {
                ProgressView(text)
                Button("Cancel", role: .cancel) { work.stop() }
            } else {
                Button("Time this model on pieces of the photo") { work.benchmark() }
                    .disabled(work.before == nil || work.isBusy)
            }
            if let file = work.records { ShareLink("Export JSONL", item: file) }
        }
    }

    private var about: some View {
        DisclosureGroup("About") {
            ForEach(work.artifacts.indices, id: \.self) { index in
                let manifest = work.artifacts[index].manifest
                LabeledContent(manifest.slug, value: "weights: \(manifest.weightsKind), \(manifest.weightsFile)")
            }
            if let file = Bundle.main.url(forResource: "NOTICE", withExtension: "txt"),
                let text = try? String(contentsOf: file, encoding: .utf8)
            {
                NavigationLink("Licences and notices") { ScrollView { Text(text).font(.caption.monospaced()).padding() } }
            }
        }
    }
}

/// Before and after with a divider that follows the finger.
struct Comparison: View {
    let before: CGImage
    let after: CGImage?
    @State private var share = 0.5

    var body: some View {
        GeometryReader { place in
            ZStack(alignment: .leading) {
                picture(before)
                if let after {
                    picture(after).mask(alignment: .trailing) {
                        Rectangle().frame(width: place.size.width * (1 - share))
                    }
                    Rectangle().fill(.white).frame(width: 2).shadow(radius: 2).offset(x: place.size.width * share - 1)
                }
            }
            .contentShape(Rectangle())
            .gesture(
                DragGesture(minimumDistance: 0).onChanged { share = min(max($0.location.x / place.size.width, 0), 1) })
        }
        .aspectRatio(Double(before.width) / Double(before.height), contentMode: .fit)
        .clipShape(RoundedRectangle(cornerRadius: 12))
        .accessibilityElement()
        .accessibilityLabel(after == nil ? "The photo" : "Before and after")
        .accessibilityValue("\(Int(share * 100)) percent before")
        .accessibilityAdjustableAction { direction in
            share = min(max(share + (direction == .increment ? 0.1 : -0.1), 0), 1)
        }
    }

    private func picture(_ image: CGImage) -> some View {
        Image(decorative: image, scale: 1).resizable().interpolation(.none)
    }
}
