package org.edgesr.photos

import java.io.Closeable
import java.io.File
import org.edgesr.core.TileModel

/** An artifact that is open. */
interface Tiles : TileModel, Closeable {
    /** Name and version of the runtime, as far as it tells. */
    val runtime: String
}

/** A runtime of the artifacts in this app. */
interface InferenceRuntime {
    /** What it can be asked to compute with, in words. What an engine cannot compute, it leaves to the CPU without saying so. */
    val engines: List<String>

    /** `engine`: of `engines`. `cache`: a folder for a runtime that opens only files. Throws AppException. */
    fun open(artifact: Artifact, engine: String, threads: Int, cache: File): Tiles
}
