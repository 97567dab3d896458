import Foundation

/// What is told to the person: a sentence that says what happened and what to do.
public struct AppError: Error, LocalizedError, Equatable {
    public enum Kind: String, Sendable { case artifact, photo, memory, output, save }

    public let kind: Kind
    public let text: String

    public init(_ kind: Kind, _ text: String) {
        self.kind = kind
        self.text = text
    }

    public var errorDescription: String? { text }
}
