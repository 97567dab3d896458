package org.edgesr.photos

import ai.onnxruntime.OnnxTensor
import ai.onnxruntime.OrtEnvironment
import ai.onnxruntime.OrtException
import ai.onnxruntime.OrtSession
import android.content.res.AssetManager
import java.io.Closeable
import java.io.IOException
import java.nio.FloatBuffer
import java.security.MessageDigest
import org.edgesr.core.AppException
import org.edgesr.core.Manifest
import org.edgesr.core.Size
import org.edgesr.core.TileModel
import org.json.JSONArray
import org.json.JSONException
import org.json.JSONObject

fun sha256(bytes: ByteArray): String =
    MessageDigest.getInstance("SHA-256").digest(bytes).joinToString("") { "%02x".format(it) }

/** An artifact as it lies in the app's assets. */
class Artifact(private val assets: AssetManager, private val folder: String) {
    val manifest: Manifest = Manifest(table(JSONObject(read("manifest.json").decodeToString())))

    /** Over names and hashes of the files, in the order of names: equal bytes are the same artifact anywhere. */
    val identity: String
        get() = sha256(manifest.files.sortedBy { it.name }.joinToString("") { "${it.name}\u0000${it.sha256}\n" }.toByteArray())

    /** The very bytes that were checked. Throws AppException. */
    fun checkedMain(): ByteArray {
        val entry = manifest.main
        val bytes = read(entry.name)
        if (bytes.size.toLong() != entry.bytes || sha256(bytes) != entry.sha256) {
            throw AppException(AppException.Kind.ARTIFACT, "${entry.name} of ${manifest.slug} was changed. Make the bundle again.")
        }
        return bytes
    }

    private fun read(name: String): ByteArray =
        try {
            assets.open("$folder/$name").use { it.readBytes() }
        } catch (error: IOException) {
            throw AppException(AppException.Kind.ARTIFACT, "$name is missing in $folder. Make the bundle again.")
        }

    companion object {
        /** Throws AppException. */
        fun all(assets: AssetManager): List<Artifact> =
            try {
                assets.list("models").orEmpty().sorted().map { Artifact(assets, "models/$it") }
            } catch (error: JSONException) {
                throw AppException(AppException.Kind.ARTIFACT, "A manifest.json is not valid JSON. Make the bundle again.")
            }
    }
}

private fun table(json: JSONObject): Map<String, Any?> = json.keys().asSequence().associateWith { plain(json.get(it)) }

private fun plain(value: Any?): Any? =
    when (value) {
        is JSONObject -> table(value)
        is JSONArray -> (0 until value.length()).map { plain(value.get(it)) }
        JSONObject.NULL -> null
        else -> value
    }

/** What ONNX Runtime is asked to compute with. What an engine cannot compute, it leaves to the CPU without saying so. */
enum class Engine(val words: String) {
    CPU("CPU"),
    XNNPACK("XNNPACK, the rest on the CPU"),
    NNAPI("NNAPI, the rest on the CPU"),
}

/** An artifact in ONNX Runtime. Throws AppException. */
class OnnxTiles(private val artifact: Artifact, engine: Engine, threads: Int) : TileModel, Closeable {
    private val environment = OrtEnvironment.getEnvironment()
    private val session: OrtSession =
        try {
            OrtSession.SessionOptions().use { options ->
                options.setIntraOpNumThreads(threads)
                when (engine) {
                    Engine.CPU -> Unit
                    Engine.XNNPACK -> options.addXnnpack(mapOf("intra_op_num_threads" to threads.toString()))
                    Engine.NNAPI -> options.addNnapi()
                }
                environment.createSession(artifact.checkedMain(), options)
            }
        } catch (error: OrtException) {
            throw AppException(AppException.Kind.ARTIFACT, "ONNX Runtime cannot open ${artifact.manifest.slug}: ${error.message}")
        }

    val runtime = "onnxruntime ${environment.version}"

    override fun predict(tile: FloatArray, size: Size): FloatArray =
        try {
            val shape = longArrayOf(1, 3, size.height.toLong(), size.width.toLong())
            OnnxTensor.createTensor(environment, FloatBuffer.wrap(tile), shape).use { input ->
                session.run(mapOf(artifact.manifest.inputName to input)).use { made ->
                    val output = made.get(artifact.manifest.outputName).get() as OnnxTensor
                    FloatArray(output.info.shape.fold(1L) { product, side -> product * side }.toInt())
                        .also { output.floatBuffer.get(it) }
                }
            }
        } catch (error: OrtException) {
            throw AppException(AppException.Kind.OUTPUT, "The network did not run: ${error.message}")
        }

    override fun close() = session.close()
}
