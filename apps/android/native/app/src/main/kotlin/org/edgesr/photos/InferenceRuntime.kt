package org.edgesr.photos

import java.io.Closeable
import java.io.File
import org.edgesr.core.Size
import org.edgesr.core.TileModel

/** An artifact that is open for tiles of one size. */
interface Tiles : TileModel, Closeable {
    /** Name and version of the runtime, as far as it tells. */
    val runtime: String

    /** What computes, as far as the runtime tells; else what it was asked for. */
    val backend: String
}

/** A runtime of the artifacts in this app. */
interface InferenceRuntime {
    val title: String

    /** What it can be asked to compute with, in words. What that cannot compute is left to the CPU without a word. */
    val engines: List<String>

    /** `engine`: of `engines`. `cache`: a folder for a runtime that opens only files. Throws AppException. */
    fun open(artifact: Artifact, size: Size, engine: String, threads: Int, cache: File): Tiles
}
