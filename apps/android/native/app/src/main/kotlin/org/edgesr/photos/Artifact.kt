package org.edgesr.photos

import android.content.res.AssetManager
import java.io.IOException
import java.security.MessageDigest
import org.edgesr.core.AppException
import org.edgesr.core.Manifest
import org.edgesr.core.Size
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
        get() {
            val lines = manifest.files.sortedBy { it.name }.map { "${it.name}\u0000${it.sha256}\n" }
            return sha256(lines.joinToString("").toByteArray())
        }

    /** The file for tiles of `size`: the very bytes that were checked. Throws AppException. */
    fun checked(size: Size): ByteArray {
        val entry = manifest.file(size)
        val bytes = read(entry.name)
        if (bytes.size.toLong() != entry.bytes || sha256(bytes) != entry.sha256) {
            val text = "${entry.name} of ${manifest.slug} was changed. Make the bundle again."
            throw AppException(AppException.Kind.ARTIFACT, text)
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
                val text = "A manifest.json is not valid JSON. Make the bundle again."
                throw AppException(AppException.Kind.ARTIFACT, text)
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
