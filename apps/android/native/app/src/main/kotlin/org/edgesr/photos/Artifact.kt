package org.edgesr.photos

import android.content.res.AssetManager
import java.io.IOException
import java.security.MessageDigest
import org.edgesr.core.AppException
import org.edgesr.core.Manifest
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
